// The services a listener of usherd can offer. One object per listener and shard.
#pragma once

#include "stack/api/application.h"

namespace usher {

// RFC 862: sends back what it receives.
class EchoService final : public Application {
 public:
  void OnAcceptable(Acceptor acceptor) override;
  void OnReadable(Connection c) override { Pump(c); }
  void OnWritable(Connection c) override { Pump(c); }

 private:
  static void Pump(Connection c);
};

// RFC 863: throws away what it receives.
class DiscardService final : public Application {
 public:
  void OnAcceptable(Acceptor acceptor) override;
  void OnReadable(Connection c) override;
};

// RFC 864: sends lines of 72 printing characters, each line one character further on, for as long
// as the peer takes them; throws away what it receives.
class ChargenService final : public Application {
 public:
  void OnAcceptable(Acceptor acceptor) override;
  void OnReadable(Connection c) override;
  void OnWritable(Connection c) override { Pump(c); }

 private:
  static void Pump(Connection c);
};

// Accepts nothing, so that the accept queue fills.
class NoService final : public Application {};

}  // namespace usher

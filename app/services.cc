#include "app/services.h"

#include <array>
#include <cstdint>
#include <span>

namespace usher {
namespace {

// Takes every connection that waits; each(c) comes before its first event.
template <class Each>
void AcceptAll(Acceptor acceptor, Each&& each) {
  Connection c;
  while (acceptor.Accept(&c) == Error::kNone) each(c);
}

// Throws away what has come, closes behind the peer's end. An error is left to OnClosed.
void DiscardInput(Connection c) {
  for (;;) {
    std::span<const uint8_t> bytes;
    const IoResult read = c.Peek(&bytes);
    if (read.error != Error::kNone) return;
    if (read.bytes == 0) {
      c.Close();
      return;
    }
    c.Discard(read.bytes);
  }
}

constexpr uint32_t kPrinting = 95;  // the characters from ' ' to '~'
constexpr uint32_t kLine = 74;      // 72 of them, CR, LF
constexpr uint32_t kCycle = kPrinting * kLine;

// All lines there are, and the first again in part, so that any place has some bytes behind it.
constexpr std::array<uint8_t, 2 * kCycle> kLines = [] {
  std::array<uint8_t, 2 * kCycle> lines{};
  for (uint32_t i = 0; i < lines.size(); ++i) {
    const uint32_t line = i / kLine;
    const uint32_t column = i % kLine;
    lines[i] = column == kLine - 2   ? '\r'
               : column == kLine - 1 ? '\n'
                                     : static_cast<uint8_t>(' ' + (line + column) % kPrinting);
  }
  return lines;
}();

}  // namespace

void EchoService::OnAcceptable(Acceptor acceptor) {
  AcceptAll(acceptor, [](Connection) {});
}

void EchoService::Pump(Connection c) {
  std::span<const uint8_t> bytes;
  while (c.Peek(&bytes).error == Error::kNone) {
    if (bytes.empty()) {
      c.Close();  // what was written is still delivered
      return;
    }
    // What does not fit stays unread, which in the end holds the peer back.
    const size_t taken = c.Write(bytes).bytes;
    if (taken == 0) return;
    c.Discard(taken);
  }
}

void DiscardService::OnAcceptable(Acceptor acceptor) {
  AcceptAll(acceptor, [](Connection) {});
}

void DiscardService::OnReadable(Connection c) { DiscardInput(c); }

void ChargenService::OnAcceptable(Acceptor acceptor) {
  AcceptAll(acceptor, [](Connection c) { Pump(c); });
}

void ChargenService::OnReadable(Connection c) { DiscardInput(c); }

// The pointer of the connection is not one here but its place among the lines.
void ChargenService::Pump(Connection c) {
  auto place = reinterpret_cast<uintptr_t>(c.user_data());
  while (c.writable_bytes() != 0) {
    const IoResult written = c.Write(std::span(kLines).subspan(place, kCycle));
    if (written.bytes == 0) break;
    place = (place + written.bytes) % kCycle;
  }
  c.set_user_data(reinterpret_cast<void*>(place));
}

}  // namespace usher

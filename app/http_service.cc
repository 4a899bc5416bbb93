#include "app/http_service.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace usher {

HttpService::HttpService(const StaticSite* site, std::function<std::string()> status,
                         uint32_t max_sessions)
    : context_(site, std::move(status)), sessions_(max_sessions) {}

uint64_t HttpService::MemoryNeeded(uint32_t max_sessions) {
  return ObjectPool<Session>::BytesFor(max_sessions);
}

void HttpService::OnAcceptable(Acceptor acceptor) {
  const Instant now = acceptor.shard().now();
  Connection c;
  while (acceptor.Accept(&c) == Error::kNone) {
    const uint32_t index = sessions_.Allocate(&context_, c, now);
    if (index == ObjectPool<Session>::kNone) {
      c.Abort();
      continue;
    }
    Session& s = sessions_[index];
    s.index = index;
    c.set_user_data(&s);
    c.SetNoDelay(true);  // answers are written whole; a rest must not wait for an ACK
    c.SetTimer(s.http.next_deadline());
  }
}

// Moves bytes until one side has to wait for the other.
void HttpService::Pump(Connection c) {
  auto* s = static_cast<Session*>(c.user_data());
  if (s == nullptr) return;
  const Instant now = c.shard().now();
  SetDate(now);
  if (s->lingering) return DiscardInput(*s);
  while (SendOutput(*s) && ReceiveInput(*s, now)) {
  }
  if (s->http.broken()) return Reset(*s);
  if (s->http.wants_close() || (stopping_ && s->http.at_rest())) return Linger(*s, now);
  c.SetTimer(s->http.next_deadline());
}

bool HttpService::SendOutput(Session& s) {
  for (;;) {
    const OutputPiece piece = s.http.Output();
    if (piece.bytes.empty()) return true;
    IoResult sent;
    if (piece.immutable && piece.bytes.size() >= kByReference)
      sent = s.connection.WriteExternal(
          piece.bytes.first(std::min(piece.bytes.size(), kLargestReference)), nullptr, nullptr);
    else
      sent = s.connection.Write(piece.bytes);
    if (sent.bytes == 0) return false;
    s.http.ConsumeOutput(sent.bytes);
  }
}

bool HttpService::ReceiveInput(Session& s, Instant now) {
  std::span<const uint8_t> bytes;
  const IoResult read = s.connection.Peek(&bytes);
  if (read.error != Error::kNone) return false;
  if (read.bytes == 0) {
    if (std::exchange(s.input_ended, true)) return false;
    s.http.FinishInput();
    return true;
  }
  const size_t consumed = s.http.Consume(bytes, now);
  if (consumed != 0) s.connection.Discard(consumed);
  return consumed != 0;
}

// Ends our side and goes on reading for a while: a reset, caused by bytes that nobody reads, could
// overtake the answer (RFC 9112 section 9.6).
void HttpService::Linger(Session& s, Instant now) {
  if (s.input_ended) return End(s);
  s.connection.Shutdown(ShutdownHow::kWrite);
  s.lingering = true;
  s.connection.SetTimer(now + kLingerTime);
  DiscardInput(s);
}

void HttpService::DiscardInput(Session& s) {
  for (;;) {
    std::span<const uint8_t> bytes;
    const IoResult read = s.connection.Peek(&bytes);
    if (read.error != Error::kNone) return;
    if (read.bytes == 0) return End(s);
    s.connection.Discard(read.bytes);
  }
}

void HttpService::OnTimer(Connection c) {
  auto* s = static_cast<Session*>(c.user_data());
  if (s == nullptr) return;
  if (s->lingering) return End(*s);
  s->http.OnTime(c.shard().now(), c.unacked_bytes() == 0);
  Pump(c);
}

void HttpService::OnClosed(Connection c, Error) {
  if (auto* s = static_cast<Session*>(c.user_data()))
    End(*s);
  else
    c.Close();
}

void HttpService::OnStopping(Shard& shard) {
  stopping_ = true;
  sessions_.ForEach([&](uint32_t index) {
    Session& s = sessions_[index];
    if (!s.lingering && s.http.at_rest()) Linger(s, shard.now());
  });
}

void HttpService::End(Session& s) {
  s.connection.Close();
  sessions_.Free(s.index);
}

void HttpService::Reset(Session& s) {
  s.connection.Abort();
  sessions_.Free(s.index);
}

// The Date field, to the second.
void HttpService::SetDate(Instant now) {
  if (now < next_date_) return;
  timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  next_date_ = now + Duration::Nanos(1'000'000'000 - t.tv_nsec);
  tm utc;
  gmtime_r(&t.tv_sec, &utc);
  std::array<char, 40> text;
  const size_t size = strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  context_.set_date({text.data(), size});
}

}  // namespace usher

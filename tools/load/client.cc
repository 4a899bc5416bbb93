#include "tools/load/client.h"

#include <algorithm>

namespace usher::load {
namespace {

constexpr size_t kUploadPiece = 65536;

// The share of `shard` when `all` are dealt out to `shards`.
uint32_t ShareOf(uint32_t all, uint32_t shard, uint32_t shards) {
  return all / shards + (shard < all % shards ? 1 : 0);
}

std::string Repeated(const std::string& text, uint32_t times) {
  std::string all;
  for (uint32_t i = 0; i < times; ++i) all += text;
  return all;
}

}  // namespace

Client::Client(const LoadOptions& options, Stack& stack, uint32_t shard, uint32_t shards)
    : options_(options),
      stack_(stack),
      shard_(shard),
      requests_(Repeated(options.Request(), options.pipeline)),
      upload_(options.up ? kUploadPiece : 0, 'u'),
      sessions_(ShareOf(options.connections, shard, shards), Session(&last_head_)),
      sent_(sessions_.size() * options.pipeline),
      free_(static_cast<uint32_t>(sessions_.size())),
      closed_(static_cast<uint32_t>(sessions_.size())),
      pacer_(options.rate / shards) {
  for (Session& s : sessions_) s.reader.Start();  // each parser points to where it lies now
  for (const std::string& a : options.addresses)
    sources_.push_back(InterfaceAddress::Parse(a)->address);
}

Client::~Client() = default;

// ---- Phases ----

uint32_t Client::BeforePass(Instant now, uint32_t work) {
  if (phase_ == Phase::kMeasure) meter_.OnPass(now, work);
  if (now >= phase_ends_ || phase_ == Phase::kOpening || !running()) Advance(now);
  if (!running()) return 0;
  const uint32_t opened = OpenMore(now);
  return opened + Pump(now);
}

void Client::Stop(Instant now) {
  stopped_ = true;
  while (phase_ < Phase::kClosing) Advance(now);
}

void Client::Advance(Instant now) {
  switch (phase_) {
    case Phase::kBegin:
      for (Session& s : sessions_) kept() ? closed_.Push(IndexOf(s)) : Free(s);
      phase_ = Phase::kOpening;
      phase_ends_ = kept() ? now + kOpening : now;
      [[fallthrough]];
    case Phase::kOpening:
      if (result_.connections < sessions_.size() && now < phase_ends_ && !stopped_) return;
      pacer_.Start(now);
      phase_ = Phase::kWarmup;
      phase_ends_ = now + options_.warmup;
      if (now < phase_ends_ && !stopped_) return;
      [[fallthrough]];
    case Phase::kWarmup:
      meter_.Start(now);
      pacer_.Start(now);
      measured_since_ = now;
      phase_ = Phase::kMeasure;
      phase_ends_ = now + options_.seconds;
      if (!stopped_) return;
      [[fallthrough]];
    case Phase::kMeasure:
      result_.cpu = meter_.Stop(now);
      result_.overdue = pacer_.Overdue(std::min(now, phase_ends_));
      phase_ = Phase::kDrain;
      phase_ends_ = options_.mode == Mode::kBulk ? now : now + kDrain;
      return;
    case Phase::kDrain:
      if (under_way_ != 0 && now < phase_ends_ && !stopped_) return;
      result_.unanswered = options_.mode == Mode::kBulk ? 0 : under_way_;
      CloseAll();
      phase_ = Phase::kClosing;
      phase_ends_ = now + kClosing;
      return;
    case Phase::kClosing:
      if (stack_.shard(shard_).connection_count() == 0 || now >= phase_ends_) phase_ = Phase::kDone;
      return;
    case Phase::kDone:
      return;
  }
}

void Client::CloseAll() {
  for (Session& s : sessions_) {
    if (s.state == State::kClosed) continue;
    // What is still coming in would be answered by resets anyway.
    if (s.state == State::kConnecting || (s.under_way != 0 && !options_.up)) {
      s.connection.Abort();
    } else {
      s.connection.Close();
    }
    s.state = State::kClosed;
  }
}

Instant Client::NextDeadline() const {
  Instant next = phase_ends_;
  if (!running()) return std::min(next, stack_.shard(shard_).now() + kRetry);
  if (!free_.empty() && phase_ != Phase::kOpening) next = std::min(next, pacer_.next());
  if (!closed_.empty()) next = std::min(next, stack_.shard(shard_).now() + kRetry);
  return next;
}

// ---- Beginning ----

uint32_t Client::OpenMore(Instant now) {
  uint32_t begun = 0;
  for (uint32_t left = closed_.size(); left > 0; --left) {
    if (!MayOpen()) break;
    const uint32_t index = closed_.Pop();
    Session& s = sessions_[index];
    if (now < s.retry_at) {
      closed_.Push(index);
    } else if (kept()) {
      Open(s);
      ++begun;
    } else {
      Free(s);
    }
  }
  return begun;
}

uint32_t Client::Pump(Instant now) {
  uint32_t begun = 0;
  if (!running() || phase_ == Phase::kOpening) return 0;
  while (!free_.empty() && pacer_.Due(now) && (kept() || MayOpen())) {
    Session& s = sessions_[free_.Pop()];
    s.queued = false;
    Ask(s, pacer_.Take(now));
    ++begun;
  }
  return begun;
}

// It may begin something, unless it has its fill.
void Client::Free(Session& s) {
  if (s.queued || s.under_way >= options_.pipeline) return;
  s.queued = true;
  free_.Push(IndexOf(s));
}

void Client::Open(Session& s) {
  s.reader.Start();
  const TcpOptionsSet options = {.no_delay = true};
  const IpAddress& source = sources_[next_source_++ % sources_.size()];
  Handle handle;
  Shard& shard = stack_.shard(shard_);
  const Error e = shard.Connect(options_.to, options_.port, options, &handle,
                                static_cast<Application*>(this), source);
  if (e != Error::kNone) {
    ++result_.errors[static_cast<size_t>(e)];
    return Finish(s, true);
  }
  s.connection = Connection(&shard, handle);
  s.connection.set_user_data(&s);
  s.state = State::kConnecting;
  ++handshakes_;
}

void Client::Ask(Session& s, Instant due) {
  const auto place = (s.first + s.under_way) % options_.pipeline;
  sent_[IndexOf(s) * size_t{options_.pipeline} + place] = due;
  ++s.under_way;
  ++under_way_;
  s.unsent_bytes += requests_.size() / options_.pipeline;
  if (s.state == State::kClosed) return Open(s);
  Free(s);
  Send(s);
}

void Client::Send(Session& s) {
  const auto rest = std::string_view(requests_).substr(requests_.size() - s.unsent_bytes);
  if (!rest.empty()) s.unsent_bytes -= s.connection.Write(rest).bytes;
}

// ---- Events ----

void Client::OnConnected(Connection c) {
  Session& s = SessionOf(c);
  s.state = State::kOpen;
  --handshakes_;
  ++result_.connections;
  if (options_.up) return Upload(s);
  if (options_.raw) return;
  Send(s);  // what was due before
  if (!kept()) return;
  Free(s);
  Pump(stack_.shard(shard_).now());
}

void Client::OnReadable(Connection c) {
  Feed(SessionOf(c));
  Pump(stack_.shard(shard_).now());
}

void Client::OnWritable(Connection c) {
  Session& s = SessionOf(c);
  options_.up ? Upload(s) : Send(s);
}

void Client::OnClosed(Connection c, Error why) {
  Session& s = SessionOf(c);
  if (why != Error::kNone) ++result_.errors[static_cast<size_t>(why)];
  c.Close();
  Finish(s, true);
}

// As much as the connection takes; each piece counts when it is acknowledged.
void Client::Upload(Session& s) {
  const ReleaseFn count = [](void* self) { static_cast<Client*>(self)->CountBytes(kUploadPiece); };
  while (running() && s.connection.WriteExternal(upload_, count, this).error == Error::kNone)
    continue;
}

void Client::Feed(Session& s) {
  std::span<const uint8_t> bytes;
  while (s.state == State::kOpen && s.connection.Peek(&bytes).error == Error::kNone) {
    if (bytes.empty()) return AtEnd(s);
    if (options_.raw) {
      CountBytes(bytes.size());
    } else if (!TakeBytes(s, bytes)) {
      ++result_.not_http;
      s.connection.Abort();
      return Finish(s, true);
    }
    s.connection.Discard(bytes.size());
    if (!kept() && s.under_way == 0 && s.reader.head().keep_alive) {
      s.connection.Close();  // the server was asked to, and will not
      return Finish(s, false);
    }
  }
}

// False: that is not what was asked for.
bool Client::TakeBytes(Session& s, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ResponseReader::Step step = s.reader.Next(bytes);
    CountBytes(step.body_bytes);
    bytes = bytes.subspan(step.consumed);
    if (step.state == ResponseReader::State::kBad || s.under_way == 0) return false;
    if (step.state == ResponseReader::State::kDone) TakeAnswer(s);
  }
  return true;
}

void Client::TakeAnswer(Session& s) {
  const Instant due = sent_[IndexOf(s) * size_t{options_.pipeline} + s.first];
  s.first = (s.first + 1) % options_.pipeline;
  --s.under_way;
  --under_way_;
  ++result_.all_answers;
  if (s.reader.head().status / 100 != 2) ++result_.not_success;
  if (phase_ == Phase::kMeasure) {
    ++result_.answers;
    // What was late before it began is of another time.
    if (due >= measured_since_) result_.latency.Record(stack_.shard(shard_).now() - due);
  }
  if (kept() && s.reader.head().keep_alive) Free(s);
}

void Client::CountBytes(uint64_t n) {
  result_.all_body_bytes += n;
  if (phase_ == Phase::kMeasure) result_.body_bytes += n;
}

// The server has ended the stream.
void Client::AtEnd(Session& s) {
  if (!options_.raw && s.reader.End() == ResponseReader::State::kDone && s.under_way != 0)
    TakeAnswer(s);
  const bool lost = s.under_way != 0;
  result_.cut_short += s.under_way;
  s.connection.Close();
  Finish(s, lost);
}

void Client::Finish(Session& s, bool failed) {
  if (s.state == State::kConnecting) --handshakes_;
  s.state = State::kClosed;
  under_way_ -= s.under_way;
  s.under_way = 0;
  s.unsent_bytes = 0;
  if (s.queued) return;  // Pump finds it closed; see Ask
  if (!failed && !kept()) return Free(s);
  s.retry_at = stack_.shard(shard_).now() + (failed ? kRetry : Duration());
  closed_.Push(IndexOf(s));
}

}  // namespace usher::load

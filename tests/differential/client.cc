#include "tests/differential/client.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"
#include "stack/wire/tcp.h"
#include "tests/differential/known.h"

namespace usher::differential {
namespace {

constexpr uint32_t kServerV4 = 0xc6120002;   // 198.18.0.2/15
constexpr uint32_t kClientsV4 = 0xc6120100;  // 198.18.1.0 + client
constexpr uint32_t kBroadcastV4 = 0xc613ffff;
constexpr uint16_t kFirstClientPort = 10000;
// A wrong echo of a timestamp is off by this; a multiple of 64, so that a cookie's options, in the
// low six bits, stay what they were.
constexpr uint32_t kFarMs = 100'032;
// Numbers further apart than this have nothing to do with each other.
constexpr int64_t kNear = 1 << 20;

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

void Append16(Bytes& out, uint32_t v) {
  out.push_back(static_cast<uint8_t>(v >> 8));
  out.push_back(static_cast<uint8_t>(v));
}
void Append32(Bytes& out, uint32_t v) {
  Append16(out, v >> 16);
  Append16(out, v & 0xffff);
}

bool Near(uint32_t a, uint32_t b) {
  return std::llabs(static_cast<int64_t>(static_cast<int32_t>(a - b))) < kNear;
}

// Removes an option and the padding before it.
void RemoveOption(Bytes& o, uint8_t kind) {
  for (size_t i = 0; i + 1 < o.size() && o[i] != 0;) {
    if (o[i] == 1) {
      ++i;
      continue;
    }
    const size_t size = o[i + 1];
    if (size < 2 || i + size > o.size()) return;
    if (o[i] == kind) {
      size_t begin = i;
      while (begin > 0 && o[begin - 1] == 1) --begin;
      o.erase(o.begin() + static_cast<ptrdiff_t>(begin),
              o.begin() + static_cast<ptrdiff_t>(i + size));
      return;
    }
    i += size;
  }
}

}  // namespace

IpAddress ServerAddress(bool ipv6) {
  return ipv6 ? *IpAddress::Parse("2001:2::2") : IpAddress::V4(kServerV4);
}
IpAddress ClientAddress(bool ipv6, uint8_t client) {
  if (!ipv6) return IpAddress::V4(kClientsV4 + 1 + client);
  return *IpAddress::Parse(absl::StrCat("2001:2::1:", absl::Hex(client + 1)));
}
uint16_t ClientPort(uint8_t client) { return static_cast<uint16_t>(kFirstClientPort + client); }

std::optional<uint8_t> ClientOf(const IpAddress& address, uint16_t port) {
  const int client = port - kFirstClientPort;
  if (client < 0 || client >= kMaxClients) return std::nullopt;
  const auto c = static_cast<uint8_t>(client);
  if (address != ClientAddress(!address.is_v4(), c)) return std::nullopt;
  return c;
}

std::string FlagText(uint16_t flags) {
  constexpr std::pair<uint16_t, char> kNames[] = {
      {TcpFlags::kSyn, 'S'}, {TcpFlags::kFin, 'F'}, {TcpFlags::kRst, 'R'},
      {TcpFlags::kPsh, 'P'}, {TcpFlags::kAck, 'A'}, {TcpFlags::kUrg, 'U'},
      {TcpFlags::kEce, 'E'}, {TcpFlags::kCwr, 'W'}, {TcpFlags::kAe, 'N'}};
  std::string text;
  for (const auto& [bit, name] : kNames)
    if ((flags & bit) != 0) text += name;
  return text.empty() ? "." : text;
}

Client::Client(uint64_t seed, bool ipv6, uint8_t index) : ipv6_(ipv6), index_(index) {
  isn_ = static_cast<uint32_t>(Mix(seed * 64 + index + 1));
  next_ = isn_ + 1;
}

// The order of Linux, or another with odd padding, or one with an option nobody knows.
Bytes Client::Options(const SegmentStep& s, uint32_t number) const {
  Bytes o;
  o.reserve(TcpOptions::kMaxSize);
  const uint32_t tsval_now = 1'000'000u * (index_ + 1u) + 10 * number;
  const uint32_t tsval = s.ts == TsValue::kOld ? tsval_now - 500'000 : tsval_now;
  uint32_t echo = 0;
  switch (s.echo) {
    case TsEcho::kLast:
      echo = last_tsval_;
      break;
    case TsEcho::kFirst:
      echo = first_tsval_;
      break;
    case TsEcho::kZero:
      break;
    case TsEcho::kBelow:
      echo = first_tsval_ - kFarMs;
      break;
    case TsEcho::kAbove:
      echo = last_tsval_ + kFarMs;
      break;
  }
  const auto timestamps = [&] {
    o.push_back(8);
    o.push_back(10);
    Append32(o, tsval);
    Append32(o, echo);
  };
  if (!stamped_) echo = 0;  // whatever a timestamp nobody sent would say of a cookie is chance
  if (s.layout == 2) o.insert(o.end(), {77, 3, 0});  // unknown: skipped
  if (s.layout == 1 && s.ts != TsValue::kNone) timestamps();
  if (s.window_scale >= 0) o.insert(o.end(), {3, 3, static_cast<uint8_t>(s.window_scale)});
  if (s.mss != 0) {
    o.insert(o.end(), {2, 4});
    Append16(o, s.mss);
  }
  if (s.sack) o.insert(o.end(), {4, 2});
  if (s.fast_open != FastOpen::kNone) AppendFastOpen(s, o);
  if (s.layout != 1 && s.ts != TsValue::kNone) {
    if (s.layout == 0 && o.size() % 4 == 0) o.insert(o.end(), {1, 1});
    timestamps();
  }
  while (o.size() % 4 != 0) o.push_back(s.layout == 1 ? 0 : 1);
  return o;
}

void Client::AppendFastOpen(const SegmentStep& s, Bytes& o) const {
  Bytes cookie;
  if (s.fast_open == FastOpen::kGiven) cookie = cookie_;
  if (s.fast_open == FastOpen::kWrong) cookie.assign(8, 0x5a);
  if (s.fast_open == FastOpen::kShort) cookie.assign(4, 0x5a);
  if (s.experimental) {
    o.insert(o.end(), {254, static_cast<uint8_t>(4 + cookie.size()), 0xf9, 0x89});
  } else {
    o.insert(o.end(), {34, static_cast<uint8_t>(2 + cookie.size())});
  }
  o.insert(o.end(), cookie.begin(), cookie.end());
}

Bytes Client::Packet(const SegmentStep& s, uint32_t seq, uint32_t ack,
                     std::span<const uint8_t> options) {
  const size_t ip_size = ipv6_ ? size_t{Ipv6Header::kSize} : size_t{Ipv4Header::kSize};
  const size_t tcp_size = TcpHeader::kSize + options.size() + s.length;
  Bytes packet(ip_size + tcp_size);
  TcpHeader h;
  h.src_port = ClientPort(index_);
  h.dst_port = kServerPort;
  h.seq = Seq(seq);
  h.ack = Seq(ack);
  h.flags = s.flags;
  h.window = s.window;
  uint8_t* const tcp = packet.data() + ip_size;
  h.Emit(tcp, options.size());
  std::copy(options.begin(), options.end(), tcp + TcpHeader::kSize);
  // Payload that tells where in the stream it stands.
  for (uint32_t i = 0; i < s.length; ++i)
    tcp[TcpHeader::kSize + options.size() + i] = static_cast<uint8_t>(seq + i - isn_);
  const IpAddress from = ClientAddress(ipv6_, index_);
  const IpAddress to = s.to_broadcast ? IpAddress::V4(kBroadcastV4) : ServerAddress(ipv6_);
  if (ipv6_) {
    Ipv6Header{.src = from, .dst = to, .payload_length = static_cast<uint16_t>(tcp_size)}.Emit(
        packet.data());
  } else {
    Ipv4Header{.src = from, .dst = to, .payload_length = static_cast<uint16_t>(tcp_size)}.Emit(
        packet.data());
  }
  FillTcpChecksum(tcp, tcp_size, from, to);
  return packet;
}

Bytes Client::Make(SegmentStep s, uint32_t number) {
  const uint32_t base = s.seq_base == SeqBase::kIsn ? isn_ : next_;
  uint32_t seq = base + static_cast<uint32_t>(s.seq_delta);
  const bool fin = (s.flags & TcpFlags::kFin) != 0;
  // A FIN has its number for good, and only what is acknowledgeable takes numbers.
  if (fin_sent_ && fin && !s.fresh) seq = fin_ - s.length;
  if (BeginsInsideAtABorder(s, seq) && IsKnown("what begins where a waiting segment ends"))
    seq = *std::max_element(borders_.begin(), borders_.end(),
                            [](uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; });
  const bool sound = (s.flags & TcpFlags::kAck) != 0 && s.ts != TsValue::kOld &&
                     (s.flags & (TcpFlags::kSyn | TcpFlags::kRst)) == 0;
  if (far_fin_ && !s.fresh) s.length = 0;  // nothing follows a FIN
  if (fin && known_ && seq + s.length != expected_) far_fin_ = true;
  if (s.length != 0) borders_.insert(seq + s.length);
  uint32_t ack = static_cast<uint32_t>(s.ack_delta);
  if (s.ack_base == AckBase::kIsn) ack += server_isn_ + 1;
  if (s.ack_base == AckBase::kNext) ack += server_next_;
  if (s.ack_base == AckBase::kPrevious) ack += previous_isn_ + 1;
  if (s.ack_base == AckBase::kNone) ack = 0;
  if (IsPredictedTooOld(s, seq, ack) &&
      IsKnown("data in order with an acknowledgment that is too old"))
    ack = acked_;
  const bool beyond_hole = s.length != 0 && seq != expected_;
  if (s.length >= kMuchData || (by_cookie_ && beyond_hole)) sent_much_ = true;
  if (s.window > max_window_) max_window_ = s.window;
  if (s.fresh) {
    isn_ = seq;
    next_ = seq + 1;
    fin_sent_ = completed_ = false;
  } else if (seq == next_ && sound) {
    if (fin) fin_ = next_ + s.length;
    fin_sent_ |= fin;
    next_ += s.length + (fin ? 1 : 0);
  }
  if (s.ack_base != AckBase::kNone && sound && seq == expected_ &&
      static_cast<int32_t>(ack - acked_) > 0 && static_cast<int32_t>(ack - server_next_) <= 0)
    acked_ = ack;
  // A cookie's neighbours are cookies too, for the next MSS of the table: then the server's first
  // number is another.
  const int32_t beside = static_cast<int32_t>(ack - server_next_);
  if (by_cookie_ && sound && !completed_ && beside != 0 && std::abs(beside) <= 3)
    first_ = acked_ = server_next_ = ack;
  if (known_ && sound && seq == expected_ && ack == acked_) completed_ = true;
  last_ack_ = ack;
  const Bytes options = Options(s, number);
  return Packet(s, seq, ack, options);
}

// Data in order with an acknowledgment of what is longer ago than any window, or than the SYN.
bool Client::IsPredictedTooOld(const SegmentStep& s, uint32_t seq, uint32_t ack) const {
  if ((s.flags & ~TcpFlags::kPsh) != TcpFlags::kAck || s.length == 0) return false;
  if (seq != expected_ && seq != next_) return false;  // its acknowledgment may be delayed
  if (!completed_) return false;                       // then it is a request's
  const uint32_t acknowledged = acked_ - first_;
  return static_cast<int32_t>(ack - acked_ + std::min<uint32_t>(max_window_, acknowledged)) < 0;
}

// Where one segment beyond the hole ends and another goes on, which was sent already.
bool Client::BeginsInsideAtABorder(const SegmentStep& s, uint32_t seq) const {
  if ((s.flags & (TcpFlags::kSyn | TcpFlags::kRst)) != 0 || !borders_.contains(seq)) return false;
  return static_cast<int32_t>(seq - expected_) > 0 &&
         std::any_of(borders_.begin(), borders_.end(),
                     [&](uint32_t end) { return static_cast<int32_t>(end - seq) > 0; });
}

std::optional<Bytes> Client::Settle() {
  if (!known_ || static_cast<int32_t>(server_next_ - acked_) <= 0) return std::nullopt;
  acked_ = server_next_;
  SegmentStep s;
  s.client = index_;
  s.flags = TcpFlags::kRst;
  return Packet(s, expected_, 0, {});
}

// As an offset from the server's ISN that it belongs to.
std::string Client::Relative(uint32_t seq) const {
  const auto distance = [&](uint32_t isn) {
    return std::llabs(static_cast<int64_t>(static_cast<int32_t>(seq - isn)));
  };
  if (seq == 0) return "zero";
  if (distance(server_isn_) < kNear / 8 ||
      (Near(seq, server_isn_) && distance(server_isn_) <= distance(previous_isn_)))
    return absl::StrCat(static_cast<int32_t>(seq - server_isn_));
  if (distance(previous_isn_) < kNear / 8)
    return absl::StrCat("previous isn + ", static_cast<int32_t>(seq - previous_isn_));
  return "unrelated";
}

std::string Client::Read(std::span<const uint8_t> packet, bool cookie) {
  std::string ip_text;
  ByteSpan l4;
  IpAddress src, dst;
  if (const auto v4 = Ipv4View::Parse(packet); v4 && !ipv6_) {
    l4 = v4->payload();
    src = v4->src();
    dst = v4->dst();
    absl::StrAppend(&ip_text, "tos ", v4->dscp_ecn(), " frag ",
                    absl::Hex(packet[6] * 256u + packet[7]), " ttl ", packet[8]);
  } else if (const auto v6 = Ipv6View::Parse(packet); v6 && ipv6_) {
    l4 = v6->payload();
    src = v6->src();
    dst = v6->dst();
    absl::StrAppend(&ip_text, "tclass ", v6->traffic_class(), " hops ", packet[7]);
  } else {
    return "not an IP packet";
  }
  const auto tcp = TcpView::Parse(l4);
  if (!tcp) return "malformed TCP";
  std::string text = absl::StrCat("c", index_, " <- [", FlagText(tcp->flags()), "]");
  const uint32_t seq = tcp->seq().value();
  const TcpOptions options = tcp->options();
  const bool syn = tcp->has(TcpFlags::kSyn);
  if (syn && tcp->has(TcpFlags::kAck)) {
    by_cookie_ = cookie;
    // A cookie is one more beginning, though its number is the same within a period.
    if (!known_ || seq != server_isn_ || cookie) {
      // A SYN that reuses a TIME-WAIT pair goes on above the old numbers.
      const bool continues = known_ && seq - server_next_ <= 65537 && seq - server_next_ >= 65536;
      previous_isn_ = known_ ? server_isn_ : seq;
      server_isn_ = seq;
      first_tsval_ = options.timestamps ? options.timestamps->value : 0;
      stamped_ = options.timestamps.has_value();
      far_fin_ = server_fin_ = completed_ = false;
      borders_.clear();
      if (!cookie) text += continues ? " isn 65537 above" : " new isn";
      known_ = true;
    } else {
      synack_again_ = true;
      if (!cookie) text += " same isn";
    }
    first_ = server_next_ = acked_ = seq + 1;
    // Fast Open: the SYN's data was taken.
    const uint32_t taken = tcp->ack().value() - next_;
    if (taken != 0 && taken <= 2000) next_ += taken;
    if (options.fast_open)
      cookie_.assign(options.fast_open->cookie.begin(),
                     options.fast_open->cookie.begin() + options.fast_open->length);
    // Only of SYN-ACKs: whether another segment's has ticked on since depends on the machine.
    if (options.timestamps) last_tsval_ = options.timestamps->value;
  } else {
    // A RST for a segment with an ACK has that one's number; which ISN it was counted from is ours.
    const bool echoed = tcp->has(TcpFlags::kRst) && !tcp->has(TcpFlags::kAck) && seq == last_ack_;
    absl::StrAppend(&text, " seq ", echoed ? "as acknowledged" : Relative(seq));
    const uint32_t end =
        seq + static_cast<uint32_t>(tcp->payload().size()) + (tcp->has(TcpFlags::kFin) ? 1 : 0);
    if (!tcp->has(TcpFlags::kRst) && Near(end, server_next_) &&
        static_cast<int32_t>(end - server_next_) > 0)
      server_next_ = end;
    if (tcp->has(TcpFlags::kRst)) acked_ = server_next_;  // it is over
  }
  if (tcp->has(TcpFlags::kAck)) expected_ = tcp->ack().value();
  if (tcp->has(TcpFlags::kAck))
    absl::StrAppend(&text, " ack ", static_cast<int32_t>(tcp->ack().value() - isn_));
  else if (tcp->ack().value() != 0)
    text += " ack not zero";
  const bool masked = sent_much_ && IsKnown("window after data");
  if (masked && !syn && (!tcp->has(TcpFlags::kRst) || tcp->window() != 0))
    text += " win ?";
  else
    absl::StrAppend(&text, " win ", tcp->window());
  if (tcp->urgent() != 0) absl::StrAppend(&text, " urg ", tcp->urgent());

  // The options' bytes as they are, but for our own timestamp's value.
  Bytes o(tcp->option_bytes().begin(), tcp->option_bytes().end());
  if (tcp->has(TcpFlags::kFin)) server_fin_ = true;
  if (!stamped_ && server_fin_ && !syn && IsKnown("timestamp of a TIME-WAIT that has none"))
    RemoveOption(o, 8);
  for (size_t i = 0; i + 1 < o.size();) {
    if (o[i] == 1) {
      ++i;
      continue;
    }
    if (o[i] == 0 || o[i + 1] < 2) break;
    if (o[i] == 8 && o[i + 1] == 10 && i + 10 <= o.size())
      std::fill_n(o.begin() + static_cast<ptrdiff_t>(i) + 2, 4, uint8_t{0xee});
    i += o[i + 1];
  }
  if (!o.empty()) {
    text += " opt ";
    for (const uint8_t b : o) absl::StrAppend(&text, absl::Hex(b, absl::kZeroPad2));
  }
  if (const size_t n = tcp->payload().size(); n != 0) {
    uint32_t sum = 0;
    for (const uint8_t b : tcp->payload()) sum = sum * 31 + b;
    absl::StrAppend(&text, " length ", n, " sum ", sum);
  }
  absl::StrAppend(&text, " ", ip_text);
  if (!tcp->VerifyChecksum(src, dst)) text += " BAD CHECKSUM";
  return text;
}

}  // namespace usher::differential

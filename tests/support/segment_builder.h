// A language for TCP segments in tests: build the frame a peer sends, read the frame the stack
// sent.
//
//   Give(From(peer).Syn(Seq(1000)).Mss(1460).Timestamps(7, 0));
//   EXPECT_THAT(TakeSent(), AllOf(HasFlags("SA"), Acks(Seq(1001)), HasMss(1460)));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "stack/wire/ecn.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"
#include "stack/wire/tcp.h"

namespace usher::test {

using Bytes = std::vector<uint8_t>;

inline IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }

inline const MacAddress kOurMac{{0x02, 0, 0, 0, 0, 1}};
inline const MacAddress kPeerMac{{0x02, 0, 0, 0, 0, 2}};

// "SA" for SYN and ACK, "." for none: S A F R P U E W(CWR).
inline std::string FlagsToString(uint16_t flags) {
  constexpr std::pair<uint16_t, char> kNames[] = {
      {TcpFlags::kSyn, 'S'}, {TcpFlags::kFin, 'F'}, {TcpFlags::kRst, 'R'}, {TcpFlags::kPsh, 'P'},
      {TcpFlags::kAck, 'A'}, {TcpFlags::kUrg, 'U'}, {TcpFlags::kEce, 'E'}, {TcpFlags::kCwr, 'W'}};
  std::string text;
  for (const auto& [bit, name] : kNames)
    if ((flags & bit) != 0) text += name;
  return text.empty() ? "." : text;
}
inline uint16_t FlagsFromString(std::string_view text) {
  uint16_t flags = 0;
  for (uint16_t bit = 1; bit <= TcpFlags::kCwr; bit = static_cast<uint16_t>(bit << 1))
    if (text.find(FlagsToString(bit)) != std::string_view::npos) flags |= bit;
  return flags;
}

// A segment on its way to the stack, built by chained calls; `tuple` is seen from the stack.
class SegmentBuilder {
 public:
  explicit SegmentBuilder(const FourTuple& tuple) : tuple_(tuple) {
    header_.src_port = tuple.remote_port;
    header_.dst_port = tuple.local_port;
    header_.window = 65535;
  }

  SegmentBuilder& Flags(std::string_view flags) {
    header_.flags = FlagsFromString(flags);
    return *this;
  }
  SegmentBuilder& FlagBits(uint16_t flags) {
    header_.flags = flags;
    return *this;
  }
  SegmentBuilder& SeqNo(Seq seq) {
    header_.seq = seq;
    return *this;
  }
  SegmentBuilder& AckNo(Seq ack) {
    header_.ack = ack;
    return *this;
  }
  SegmentBuilder& Syn(Seq isn) { return Flags("S").SeqNo(isn); }
  SegmentBuilder& Ack(Seq seq, Seq ack) { return Flags("A").SeqNo(seq).AckNo(ack); }
  SegmentBuilder& Rst(Seq seq) { return Flags("R").SeqNo(seq); }
  SegmentBuilder& Window(uint16_t window) {
    header_.window = window;
    return *this;
  }
  SegmentBuilder& Mss(uint16_t mss) {
    options_.mss = mss;
    return *this;
  }
  SegmentBuilder& WindowScale(uint8_t scale) {
    options_.window_scale = scale;
    return *this;
  }
  SegmentBuilder& SackPermitted() {
    options_.sack_permitted = true;
    return *this;
  }
  SegmentBuilder& Timestamps(uint32_t value, uint32_t echo) {
    options_.timestamps = TcpTimestamps{value, echo};
    return *this;
  }
  SegmentBuilder& FastOpenCookie(const FastOpenOption& cookie) {
    options_.fast_open = cookie;
    return *this;
  }
  SegmentBuilder& Data(std::string_view text) {
    payload_.assign(text.begin(), text.end());
    return *this;
  }
  SegmentBuilder& Tos(uint8_t tos) {
    tos_ = tos;
    return *this;
  }
  // The urgent pointer, as it stands in the header.
  SegmentBuilder& Urgent(uint16_t pointer) {
    header_.urgent = pointer;
    return *this;
  }
  SegmentBuilder& Ecn(usher::Ecn ecn) { return Tos(static_cast<uint8_t>(ecn)); }
  SegmentBuilder& To(const MacAddress& mac) {
    to_ = mac;
    return *this;
  }
  // Flips a bit of the TCP checksum.
  SegmentBuilder& BadChecksum() {
    bad_checksum_ = true;
    return *this;
  }

  SegmentBuilder& Sack(std::initializer_list<SackBlock> blocks) {
    for (const SackBlock& b : blocks) options_.sack[options_.sack_count++] = b;
    return *this;
  }
  SegmentBuilder& NoTimestamps() {
    options_.timestamps.reset();
    return *this;
  }
  // The number after its last.
  Seq EndSeq() const {
    return header_.seq + static_cast<uint32_t>(payload_.size()) +
           ((header_.flags & TcpFlags::kSyn) != 0) + ((header_.flags & TcpFlags::kFin) != 0);
  }

  // The whole frame, checksums in place.
  Bytes Frame() const {
    const bool v4 = tuple_.remote.is_v4();
    Bytes tcp(TcpHeader::kSize + options_.EmitSize() + payload_.size());
    const size_t size = header_.Emit(tcp.data(), options_);
    std::copy(payload_.begin(), payload_.end(), tcp.begin() + static_cast<ptrdiff_t>(size));
    FillTcpChecksum(tcp.data(), tcp.size(), tuple_.remote, tuple_.local);
    if (bad_checksum_) tcp[16] ^= 1;
    const EthernetHeader ethernet{
        .dst = to_, .src = kPeerMac, .type = v4 ? EtherType::kIpv4 : EtherType::kIpv6};
    const size_t ip_size = v4 ? size_t{Ipv4Header::kSize} : size_t{Ipv6Header::kSize};
    Bytes frame(ethernet.size() + ip_size);
    ethernet.Emit(frame.data());
    const auto length = static_cast<uint16_t>(tcp.size());
    if (v4) {
      Ipv4Header{
          .src = tuple_.remote, .dst = tuple_.local, .payload_length = length, .dscp_ecn = tos_}
          .Emit(frame.data() + ethernet.size());
    } else {
      Ipv6Header{.src = tuple_.remote,
                 .dst = tuple_.local,
                 .payload_length = length,
                 .traffic_class = tos_}
          .Emit(frame.data() + ethernet.size());
    }
    frame.insert(frame.end(), tcp.begin(), tcp.end());
    return frame;
  }
  operator Bytes() const { return Frame(); }  // NOLINT: a builder stands for what it builds

 private:
  FourTuple tuple_;
  TcpHeader header_;
  TcpOptions options_;
  Bytes payload_;
  MacAddress to_ = kOurMac;
  uint8_t tos_ = 0;
  bool bad_checksum_ = false;
};

inline SegmentBuilder From(const FourTuple& peer) { return SegmentBuilder(peer); }

// A segment the stack sent. `tuple` is seen from the stack, as everywhere.
struct SentTcp {
  MacAddress to;
  FourTuple tuple;
  Seq seq;
  Seq ack;
  uint16_t flags = 0;
  uint16_t window = 0;
  uint16_t urgent = 0;
  uint8_t tos = 0;
  TcpOptions options;
  Bytes option_bytes;
  std::string payload;

  uint32_t tsval() const { return options.timestamps ? options.timestamps->value : 0; }
  Seq EndSeq() const {
    return seq + static_cast<uint32_t>(payload.size()) + ((flags & TcpFlags::kSyn) != 0) +
           ((flags & TcpFlags::kFin) != 0);
  }
};

inline std::string Print(Seq seq) { return std::to_string(seq.value()); }

inline std::ostream& operator<<(std::ostream& out, const SentTcp& s) {
  out << "[" << FlagsToString(s.flags) << "] to " << ToString(s.tuple.remote, s.tuple.remote_port)
      << " seq " << s.seq.value() << " ack " << s.ack.value() << " win " << s.window;
  if (s.options.mss) out << " mss " << *s.options.mss;
  if (s.options.window_scale) out << " wscale " << int{*s.options.window_scale};
  if (s.options.sack_permitted) out << " sackOK";
  if (s.options.timestamps)
    out << " ts " << s.options.timestamps->value << "/" << s.options.timestamps->echo;
  for (const SackBlock& b : s.options.sack_blocks())
    out << " sack " << b.begin.value() << "-" << b.end.value();
  return out << " length " << s.payload.size();
}

// Reads a frame; nullopt if it is not TCP. Adds test failures for wrong checksums and lengths.
inline std::optional<SentTcp> ParseSent(const Bytes& frame) {
  const auto ethernet = EthernetView::Parse(frame);
  if (!ethernet) return std::nullopt;
  SentTcp sent;
  sent.to = ethernet->dst();
  ByteSpan l4;
  const ByteSpan packet = ethernet->payload();
  if (ethernet->type() == EtherType::kIpv4) {
    const auto ip = Ipv4View::Parse(packet);
    if (!ip || ip->protocol() != IpProtocol::kTcp) return std::nullopt;
    sent.tuple.local = ip->src();
    sent.tuple.remote = ip->dst();
    sent.tos = ip->dscp_ecn();
    l4 = ip->payload();
  } else if (ethernet->type() == EtherType::kIpv6) {
    const auto ip = Ipv6View::Parse(packet);
    if (!ip || ip->next_header() != IpProtocol::kTcp) return std::nullopt;
    sent.tuple.local = ip->src();
    sent.tuple.remote = ip->dst();
    sent.tos = ip->traffic_class();
    l4 = ip->payload();
  } else {
    return std::nullopt;
  }
  const auto tcp = TcpView::Parse(l4);
  if (!tcp) {
    ADD_FAILURE() << "a malformed TCP header was sent";
    return std::nullopt;
  }
  EXPECT_TRUE(tcp->VerifyChecksum(sent.tuple.local, sent.tuple.remote)) << "wrong TCP checksum";
  sent.tuple.local_port = tcp->src_port();
  sent.tuple.remote_port = tcp->dst_port();
  sent.seq = tcp->seq();
  sent.ack = tcp->ack();
  sent.flags = tcp->flags();
  sent.window = tcp->window();
  sent.urgent = tcp->urgent();
  sent.options = tcp->options();
  sent.option_bytes.assign(tcp->option_bytes().begin(), tcp->option_bytes().end());
  const ByteSpan payload = tcp->payload();
  sent.payload.assign(payload.begin(), payload.end());
  return sent;
}

MATCHER_P(HasFlags, text, std::string("has flags ") + text) {
  return arg.flags == FlagsFromString(text);
}
MATCHER_P(Acks, number, "acks " + Print(number)) { return arg.ack == number; }
MATCHER_P(HasSeq, number, "has seq " + Print(number)) { return arg.seq == number; }
MATCHER_P(HasMss, mss, "") { return arg.options.mss == std::optional<uint16_t>(mss); }
MATCHER_P(HasWindow, window, "") { return arg.window == window; }
MATCHER_P(HasPayload, text, "") { return arg.payload == text; }
MATCHER_P(EchoesTimestamp, value, "") {
  return arg.options.timestamps && arg.options.timestamps->echo == static_cast<uint32_t>(value);
}
MATCHER_P(HasLength, length, "") { return arg.payload.size() == static_cast<size_t>(length); }
// SACK blocks, all of them and in this order.
MATCHER_P(HasSack, blocks, "") {
  const auto sent = arg.options.sack_blocks();
  return std::vector<SackBlock>(sent.begin(), sent.end()) == blocks;
}
inline std::vector<SackBlock> Blocks(std::initializer_list<SackBlock> blocks) { return blocks; }
MATCHER_P(HasEcn, ecn, "") { return EcnOf(arg.tos) == ecn; }
MATCHER(HasTimestamps, "") { return arg.options.timestamps.has_value(); }
MATCHER(HasSackPermitted, "") { return arg.options.sack_permitted; }
MATCHER_P(HasWindowScale, scale, "") {
  return arg.options.window_scale == std::optional<uint8_t>(scale);
}
MATCHER(HasNoWindowScale, "") { return !arg.options.window_scale; }

}  // namespace usher::test

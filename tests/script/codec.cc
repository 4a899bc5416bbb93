#include "tests/script/codec.h"

#include <algorithm>
#include <cstring>

#include "stack/wire/checksum.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"
#include "tests/support/md5_digest.h"

namespace usher::script {
namespace {

constexpr uint8_t kSyn = 0x02, kPsh = 0x08, kAck = 0x10;
constexpr uint8_t kTcp = 6;
constexpr uint8_t kMd5 = 19;

void Put16(std::vector<uint8_t>* out, uint32_t v) {
  out->push_back(static_cast<uint8_t>(v >> 8));
  out->push_back(static_cast<uint8_t>(v));
}
void Put32(std::vector<uint8_t>* out, uint32_t v) {
  Put16(out, v >> 16);
  Put16(out, v & 0xffff);
}

// The option's bytes; `wire` turns a timestamp echo and SACK edges of the script into the wire's.
template <class Echo, class Edge>
void PutOption(const Option& o, Echo&& echo, Edge&& edge, uint32_t tsval,
               std::vector<uint8_t>* out) {
  const auto head = [out](uint8_t kind, size_t size) {
    out->push_back(kind);
    out->push_back(static_cast<uint8_t>(size));
  };
  switch (o.kind) {
    case Option::Kind::kEol:
      out->push_back(0);
      break;
    case Option::Kind::kNop:
      out->push_back(1);
      break;
    case Option::Kind::kMss:
      head(2, 4);
      Put16(out, o.value);
      break;
    case Option::Kind::kWscale:
      head(3, 3);
      out->push_back(static_cast<uint8_t>(o.value));
      break;
    case Option::Kind::kSackOk:
      head(4, 2);
      break;
    case Option::Kind::kSack:
      head(5, 2 + 8 * o.blocks.size());
      for (const auto& [begin, end] : o.blocks) {
        Put32(out, edge(begin));
        Put32(out, edge(end));
      }
      break;
    case Option::Kind::kTimestamps:
      head(8, 10);
      Put32(out, tsval);
      Put32(out, echo(o.echo));
      break;
    case Option::Kind::kFastOpen:
      head(34, 2 + o.bytes.size());
      out->insert(out->end(), o.bytes.begin(), o.bytes.end());
      break;
    case Option::Kind::kFastOpenExperimental:
      head(254, 4 + o.bytes.size());
      Put16(out, 0xf989);
      out->insert(out->end(), o.bytes.begin(), o.bytes.end());
      break;
    case Option::Kind::kMd5:  // the digest comes when all else is there
      head(kMd5, 18);
      out->resize(out->size() + 16);
      break;
    case Option::Kind::kRaw:
      out->insert(out->end(), o.bytes.begin(), o.bytes.end());
      break;
  }
}

// Writes the digest that an MD5 option among `p`'s has for `tcp` to where it belongs in `options`.
void PutDigest(const Packet& p, const IpAddress& from, const IpAddress& to,
               const std::vector<uint8_t>& tcp, uint8_t* options, size_t size) {
  for (const Option& o : p.options) {
    if (o.kind != Option::Kind::kMd5) continue;
    const std::string key(o.bytes.begin(), o.bytes.end());
    const auto digest = test::Md5DigestOf(from, to, tcp, key);
    constexpr uint8_t kHead[] = {kMd5, 18};
    uint8_t* const at = std::search(options, options + size, std::begin(kHead), std::end(kHead));
    if (options + size - at >= 18) std::copy(digest.begin(), digest.end(), at + 2);
  }
}

// A script's echo of a timestamp is that of the packet it names, or as far from the first as the
// script says.
uint32_t WireEcho(uint32_t echo, const Flow& flow) {
  for (auto it = flow.timestamps.rbegin(); it != flow.timestamps.rend(); ++it)
    if (it->first == echo) return it->second;
  return flow.local_ts && echo != 0 ? echo + *flow.local_ts : echo;
}

std::vector<uint8_t> TcpBytes(const Packet& p, const Flow& flow, bool ours) {
  const uint32_t our_iss = flow.local_iss.value_or(0);
  const uint32_t their_iss = flow.remote_iss.value_or(0);
  std::vector<uint8_t> options;
  for (const Option& o : p.options)
    PutOption(
        o, [&](uint32_t e) { return WireEcho(e, flow); }, [&](uint32_t e) { return e + our_iss; },
        o.value, &options);
  while (options.size() % 4 != 0) options.push_back(0);
  std::vector<uint8_t> out;
  Put16(&out, ours ? flow.local_port : flow.remote_port);
  Put16(&out, ours ? flow.remote_port : flow.local_port);
  Put32(&out, p.seq + (ours ? our_iss : their_iss));
  Put32(&out, p.ack ? *p.ack + our_iss : 0);
  out.push_back(static_cast<uint8_t>((20 + options.size()) / 4 << 4));
  out.push_back(p.flags);
  Put16(&out, p.window.value_or(0));
  Put16(&out, 0);
  Put16(&out, p.urgent);
  out.insert(out.end(), options.begin(), options.end());
  for (uint32_t i = 0; i < p.length; ++i)  // every byte tells its place
    out.push_back(static_cast<uint8_t>(p.seq + i));
  if (!ours) PutDigest(p, flow.remote, flow.local, out, out.data() + 20, options.size());
  return out;
}

std::vector<uint8_t> WithIp(const IpAddress& from, const IpAddress& to, uint8_t protocol,
                            const std::vector<uint8_t>& payload, uint8_t tos, uint8_t ttl,
                            size_t said_length) {
  std::vector<uint8_t> packet(from.is_v4() ? 20 : 40);
  if (from.is_v4())
    Ipv4Header{.src = from,
               .dst = to,
               .payload_length = static_cast<uint16_t>(said_length),
               .protocol = protocol,
               .ttl = ttl,
               .dscp_ecn = tos}
        .Emit(packet.data());
  else
    Ipv6Header{.src = from,
               .dst = to,
               .payload_length = static_cast<uint16_t>(said_length),
               .next_header = protocol,
               .hop_limit = ttl,
               .traffic_class = tos}
        .Emit(packet.data());
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

void PutChecksum(std::vector<uint8_t>* bytes, size_t at, uint32_t initial) {
  Store16(&(*bytes)[at], checksum::Finish(checksum::Sum(*bytes, initial)));
}

struct IcmpCode {
  const char* type;
  const char* code;
  int v4_type, v4_code, v6_type, v6_code;
};
constexpr IcmpCode kIcmp[] = {
    {"unreachable", "net_unreachable", 3, 0, 1, 0},
    {"unreachable", "host_unreachable", 3, 1, 1, 3},
    {"unreachable", "protocol_unreachable", 3, 2, 4, 1},
    {"unreachable", "port_unreachable", 3, 3, 1, 4},
    {"unreachable", "frag_needed", 3, 4, 2, 0},
    {"packet_too_big", "", 3, 4, 2, 0},
    {"unreachable", "source_route_failed", 3, 5, 1, 5},
    {"unreachable", "net_unknown", 3, 6, 1, 0},
    {"unreachable", "host_unknown", 3, 7, 1, 3},
    {"unreachable", "net_prohibited", 3, 9, 1, 1},
    {"unreachable", "host_prohibited", 3, 10, 1, 1},
    {"unreachable", "packet_filtered", 3, 13, 1, 1},
    {"source_quench", "", 4, 0, -1, 0},
    {"time_exceeded", "exceeded_in_transit", 11, 0, 3, 0},
    {"time_exceeded", "", 11, 0, 3, 0},
    {"parameter_problem", "", 12, 0, 4, 0},
};

std::vector<uint8_t> IcmpPacket(const Packet& p, const Flow& flow) {
  const bool v4 = flow.local.is_v4();
  const IcmpCode* kind = nullptr;
  for (const IcmpCode& c : kIcmp)
    if (p.icmp_type == c.type && p.icmp_code == c.code) kind = &c;
  if (kind == nullptr) return {};
  Packet quoted = p;
  quoted.length = 0;
  quoted.flags = kAck;
  std::vector<uint8_t> quote =
      WithIp(flow.local, flow.remote, kTcp, TcpBytes(quoted, flow, true), 0, 64, 20 + p.length);
  std::vector<uint8_t> icmp{static_cast<uint8_t>(v4 ? kind->v4_type : kind->v6_type),
                            static_cast<uint8_t>(v4 ? kind->v4_code : kind->v6_code), 0, 0};
  Put32(&icmp, p.mtu);
  icmp.insert(icmp.end(), quote.begin(), quote.end());
  const auto size = static_cast<uint16_t>(icmp.size());
  PutChecksum(&icmp, 2, v4 ? 0 : checksum::PseudoHeader(flow.remote, flow.local, 58, size));
  return WithIp(flow.remote, flow.local, v4 ? 1 : 58, icmp, 0, 64, size);
}

}  // namespace

std::vector<uint8_t> Encode(const Packet& p, Flow& flow) {
  if (p.icmp) return IcmpPacket(p, flow);
  std::vector<uint8_t> tcp = TcpBytes(p, flow, false);
  PutChecksum(
      &tcp, 16,
      checksum::PseudoHeader(flow.remote, flow.local, kTcp, static_cast<uint16_t>(tcp.size())));
  return WithIp(flow.remote, flow.local, kTcp, tcp, p.ecn.value_or(0), p.ttl.value_or(64),
                tcp.size());
}

bool Decode(std::span<const uint8_t> packet, Segment* out, std::string* error) {
  std::span<const uint8_t> tcp;
  *error = "a broken IP packet";
  if (const auto v4 = Ipv4View::Parse(packet)) {
    if (!v4->VerifyChecksum()) return false;
    *out = {.source = v4->src(),
            .destination = v4->dst(),
            .protocol = v4->protocol(),
            .tos = v4->dscp_ecn(),
            .ttl = v4->ttl()};
    tcp = v4->payload();
  } else if (const auto v6 = Ipv6View::Parse(packet)) {
    *out = {.source = v6->src(),
            .destination = v6->dst(),
            .protocol = v6->next_header(),
            .tos = v6->traffic_class(),
            .ttl = v6->hop_limit()};
    tcp = v6->payload();
  } else {
    return false;
  }
  error->clear();
  if (out->protocol != kTcp) return false;
  *error = "a broken TCP segment";
  if (tcp.size() < 20) return false;
  const size_t header = size_t{tcp[12]} >> 4 << 2;
  if (header < 20 || header > tcp.size()) return false;
  const auto size = static_cast<uint16_t>(tcp.size());
  if (!checksum::IsIntact(
          checksum::Sum(tcp, checksum::PseudoHeader(out->source, out->destination, kTcp, size))))
    return false;
  error->clear();
  out->source_port = Load16(&tcp[0]);
  out->destination_port = Load16(&tcp[2]);
  out->seq = Load32(&tcp[4]);
  out->ack = Load32(&tcp[8]);
  out->flags = tcp[13];
  out->window = Load16(&tcp[14]);
  out->urgent = Load16(&tcp[18]);
  out->options.assign(tcp.begin() + 20, tcp.begin() + static_cast<std::ptrdiff_t>(header));
  out->length = static_cast<uint32_t>(tcp.size() - header);
  out->tcp.assign(tcp.begin(), tcp.end());
  return true;
}

std::string Compare(const Packet& p, const Segment& got, Flow& flow, bool push_matters) {
  if ((p.flags & kSyn) != 0 && (got.flags & kSyn) != 0 && !flow.local_iss)
    flow.local_iss = got.seq - p.seq;
  const uint32_t our_iss = flow.local_iss.value_or(0);
  const uint32_t their_iss = flow.remote_iss.value_or(0);
  std::string wrong;
  const auto differs = [&wrong](const std::string& what, uint32_t expected, uint32_t actual) {
    if (expected != actual)
      wrong += what + " is " + std::to_string(actual) + ", not " + std::to_string(expected) + "; ";
  };
  const auto heeded = static_cast<uint8_t>(push_matters ? 0xff : ~kPsh);
  differs("flags", p.flags & heeded, got.flags & heeded);
  differs("seq", p.seq, got.seq - our_iss);
  differs("length", p.length, got.length);
  if (p.ack) differs("ack", *p.ack, got.ack - their_iss);
  if (p.window) differs("win", *p.window, got.window);
  if (p.ecn) differs("ecn", *p.ecn, got.tos & 3u);
  if (p.ttl) differs("ttl", *p.ttl, got.ttl);
  differs("urg", p.urgent, got.urgent);
  if (p.any_options) return wrong;
  // Options byte for byte; a timestamp's value is taken as it comes, its echo is not.
  std::vector<uint8_t> expected;
  for (const Option& o : p.options) {
    uint32_t tsval = o.value;
    if (o.kind == Option::Kind::kTimestamps && got.options.size() >= expected.size() + 10) {
      tsval = Load32(&got.options[expected.size() + 2]);
      flow.timestamps.emplace_back(o.value, tsval);
      if (!flow.local_ts) flow.local_ts = tsval - o.value;
    }
    PutOption(
        o, [](uint32_t e) { return e; }, [&](uint32_t e) { return e + their_iss; }, tsval,
        &expected);
  }
  while (expected.size() % 4 != 0)
    expected.push_back(got.options.size() > expected.size() ? got.options[expected.size()] : 0);
  PutDigest(p, got.source, got.destination, got.tcp, expected.data(), expected.size());
  if (expected != got.options) wrong += "options differ; ";
  return wrong;
}

std::string ToText(const Segment& s, const Flow& flow) {
  constexpr char kLetters[] = "FSRP.UEW";
  std::string text;
  for (int i = 0; i < 8; ++i)
    if ((s.flags >> i & 1) != 0) text += kLetters[i];
  const uint32_t seq = s.seq - flow.local_iss.value_or(s.seq);
  text += " " + std::to_string(seq) + ":" + std::to_string(seq + s.length) + "(" +
          std::to_string(s.length) + ")";
  if ((s.flags & kAck) != 0) text += " ack " + std::to_string(s.ack - flow.remote_iss.value_or(0));
  text += " win " + std::to_string(s.window) + " <";
  for (size_t i = 0; i < s.options.size();) {
    const uint8_t kind = s.options[i];
    const size_t size = kind <= 1 || i + 1 >= s.options.size() ? 1 : s.options[i + 1];
    if (size == 0 || i + size > s.options.size()) break;
    const uint8_t* p = &s.options[i];
    if (i != 0) text += ",";
    if (kind == 0) text += "eol";
    if (kind == 1) text += "nop";
    if (kind == 2) text += "mss " + std::to_string(Load16(p + 2));
    if (kind == 3) text += "wscale " + std::to_string(p[2]);
    if (kind == 4) text += "sackOK";
    if (kind == 5)
      for (size_t b = 2; b + 8 <= size; b += 8)
        text += (b == 2 ? "sack " : " ") +
                std::to_string(Load32(p + b) - flow.remote_iss.value_or(0)) + ":" +
                std::to_string(Load32(p + b + 4) - flow.remote_iss.value_or(0));
    if (kind == 8)
      text += "TS val " + std::to_string(Load32(p + 2) - flow.local_ts.value_or(0)) + " ecr " +
              std::to_string(Load32(p + 6));
    if (kind == kMd5) text += "md5 ?";
    if (kind == 34) text += "FO(" + std::to_string(size - 2) + ")";
    i += size;
  }
  return text + ">";
}

}  // namespace usher::script

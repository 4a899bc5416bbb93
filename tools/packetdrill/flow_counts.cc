#include "tools/packetdrill/flow_counts.h"

#include <algorithm>

#include "stack/wire/ip_protocol.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"
#include "stack/wire/tcp.h"

namespace usher::packetdrill {

uint32_t FlowCounts::DeliveredUpTo(uint32_t acked) const {
  return static_cast<uint32_t>(
      std::count_if(ends.begin(), ends.end(), [acked](uint32_t end) { return end <= acked; }));
}

void FlowLedger::Note(std::span<const uint8_t> ip_packet, bool sent, uint16_t mss) {
  IpAddress source;
  IpAddress destination;
  std::span<const uint8_t> tcp;
  if (const auto v4 = Ipv4View::Parse(ip_packet); v4 && v4->protocol() == IpProtocol::kTcp) {
    source = v4->src();
    destination = v4->dst();
    tcp = v4->payload();
  } else if (const auto v6 = Ipv6View::Parse(ip_packet);
             v6 && v6->next_header() == IpProtocol::kTcp) {
    source = v6->src();
    destination = v6->dst();
    tcp = v6->payload();
  }
  const size_t header = tcp.size() < TcpHeader::kSize ? 0 : size_t{tcp[12]} >> 4 << 2;
  if (header < TcpHeader::kSize || header > tcp.size()) return;
  const uint16_t from = Load16(&tcp[0]);
  const uint16_t to = Load16(&tcp[2]);
  const uint8_t flags = tcp[13];
  const auto length = static_cast<uint32_t>(tcp.size() - header);
  const bool syn = (flags & TcpFlags::kSyn) != 0;
  const bool ack = (flags & TcpFlags::kAck) != 0;
  if (!sent) {
    FlowCounts& f = flows_[{destination, source, to, from}];
    if (syn && !ack && f.sent_to != 1) f = {};
    if (syn && !ack) {
      f.segs_in = 1;
      return;
    }
    ++f.segs_in;
    if (length != 0) ++f.data_segs_in;
    return;
  }
  FlowCounts& f = flows_[{source, destination, from, to}];
  if (syn) {
    if (!ack && f.iss != Load32(&tcp[4])) f = {};
    f.iss = Load32(&tcp[4]);
    f.sent_to = 1;
    if (!ack) ++f.segs_out;
    return;
  }
  const uint32_t segments = mss == 0 ? 1 : (length + mss - 1) / mss;
  f.segs_out += segments;
  const uint32_t seq = Load32(&tcp[4]) - f.iss;
  const uint32_t end = seq + length + ((flags & TcpFlags::kFin) != 0 ? 1 : 0);
  if (length != 0) f.data_segs_out += segments;
  f.bytes_sent += length;
  if (end == seq || (flags & TcpFlags::kRst) != 0) return;
  if (end > f.sent_to)
    for (uint32_t i = 1; i <= segments; ++i) f.ends.push_back(i == segments ? end : seq + i * mss);
  else
    f.bytes_retrans += length;
  f.sent_to = std::max(f.sent_to, end);
}

}  // namespace usher::packetdrill

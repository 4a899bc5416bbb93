#include "stack/tcp/reset.h"

namespace usher {

void SendReset(Egress& egress, Counters& counters, Segment& s, const Md5Key* md5) {
  if (s.Has(TcpFlags::kRst) || s.packet->to_multicast) return;
  if (s.options.md5 && md5 == nullptr) return;
  TcpHeader h;
  h.src_port = s.tuple.local_port;
  h.dst_port = s.tuple.remote_port;
  if (s.Has(TcpFlags::kAck)) {
    h.flags = TcpFlags::kRst;
    h.seq = s.ack;
  } else {
    h.flags = TcpFlags::kRst | TcpFlags::kAck;
    h.ack = s.EndSeq();
  }
  TxFrame frame;
  if (!egress.BeginReply(*s.packet, &frame)) return;
  TcpOptions options;
  options.md5 = md5 != nullptr;
  uint32_t sum;
  const auto size = static_cast<uint16_t>(h.Emit(frame.l4, options, &sum));
  if (md5 != nullptr) [[unlikely]] {
    SignSegment(*md5, s.tuple, frame.l4, size, 0);
    sum = 0;
  }
  egress.CommitTcp(frame, {.local = s.tuple.local,
                           .remote = s.tuple.remote,
                           .header_length = size,
                           .payload_length = 0,
                           .payload_sum = 0,
                           .header_sum = sum});
  counters.Add(Counter::TcpOutSegs);
  counters.Add(Counter::TcpOutRsts);
}

}  // namespace usher

#include "stack/tcp/reset.h"

namespace usher {

void SendReset(Egress& egress, Counters& counters, Segment& s) {
  if (s.Has(TcpFlags::kRst) || s.packet->to_multicast) return;
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
  const uint32_t sum = h.Emit(frame.l4);
  egress.CommitTcp(frame, {.local = s.tuple.local,
                           .remote = s.tuple.remote,
                           .header_length = TcpHeader::kSize,
                           .payload_length = 0,
                           .payload_sum = 0,
                           .header_sum = sum});
  counters.Add(Counter::TcpOutSegs);
  counters.Add(Counter::TcpOutRsts);
}

}  // namespace usher

#include "stack/tcp/segment.h"

namespace usher {

bool Segment::Parse(L4Packet& packet, Counters& counters, Segment* out) {
  if (!packet.handed_over) [[likely]]
    counters.Add(Counter::TcpInSegs);
  const auto view = TcpView::Parse({packet.l4, packet.l4_length});
  if (!view) {
    counters.Add(Counter::TcpInErrs);
    return false;
  }
  if (!packet.checksum_good && !view->VerifyChecksum(packet.source, packet.destination)) {
    counters.Add(Counter::TcpInCsumErrors);
    counters.Add(Counter::TcpInErrs);
    return false;
  }
  out->packet = &packet;
  out->tuple = {packet.destination, packet.source, view->dst_port(), view->src_port()};
  out->seq = view->seq();
  out->ack = view->ack();
  out->flags = view->flags();
  out->window = view->window();
  out->payload = view->payload().data();
  out->payload_length = static_cast<uint32_t>(view->payload().size());
  out->options = view->options();
  out->foreseen = kNotForeseen;
  return true;
}

}  // namespace usher

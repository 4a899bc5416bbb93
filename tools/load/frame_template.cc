#include "tools/load/frame_template.h"

#include "stack/wire/ethernet.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/tcp.h"

namespace usher::load {

FrameTemplate FrameTemplate::Syn(const Addresses& a) {
  return FrameTemplate(a, TcpFlags::kSyn, true);
}

FrameTemplate FrameTemplate::Ack(const Addresses& a) {
  return FrameTemplate(a, TcpFlags::kAck, false);
}

FrameTemplate::FrameTemplate(const Addresses& a, uint16_t flags, bool with_options) {
  uint8_t* const frame = bytes_.data();
  EthernetHeader{.dst = a.dst_mac, .src = a.src_mac, .type = EtherType::kIpv4}.Emit(frame);
  TcpHeader tcp;
  tcp.src_port = 0;
  tcp.dst_port = a.dst_port;
  tcp.flags = flags;
  tcp.window = 64240;
  TcpOptions options;
  if (with_options) {
    options.mss = 1460;
    options.sack_permitted = true;
    options.timestamps = TcpTimestamps{1, 0};
    options.window_scale = 7;
  }
  const size_t tcp_size = tcp.Emit(frame + kTcpAt, options);
  Ipv4Header{
      .src = IpAddress::V4(0), .dst = a.dst, .payload_length = static_cast<uint16_t>(tcp_size)}
      .Emit(frame + kIpAt);
  Store16(frame + kIpAt + 10, 0);
  size_ = kTcpAt + tcp_size;
  ip_sum_ = checksum::Sum({frame + kIpAt, 20});
  const uint32_t pseudo = checksum::PseudoHeader(IpAddress::V4(0), a.dst, IpProtocol::kTcp,
                                                 static_cast<uint32_t>(tcp_size));
  Store32(frame + kTcpAt, 0);  // Write adds both ports as one word
  tcp_sum_ = checksum::Sum({frame + kTcpAt, tcp_size}, pseudo);
  Store32(frame + kTcpAt, a.dst_port);
}

}  // namespace usher::load

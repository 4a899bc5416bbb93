// Every header parser of stack/wire: whatever the bytes, what is read lies within them, and options
// that were read and written again read the same.
#include <fuzzer/FuzzedDataProvider.h>

#include "stack/wire/arp.h"
#include "stack/wire/icmp_quote.h"
#include "stack/wire/icmpv4.h"
#include "stack/wire/icmpv6.h"
#include "stack/wire/mld.h"
#include "stack/wire/ndp.h"
#include "stack/wire/udp.h"
#include "tests/fuzz/fuzz_stack.h"

namespace usher::fuzz {
namespace {

volatile uint64_t sink;

// Reads all of it, for the address sanitizer to see.
void Touch(ByteSpan bytes) {
  uint64_t sum = 0;
  for (const uint8_t b : bytes) sum += b;
  sink = sum;
}

void Tcp(ByteSpan data) {
  const auto tcp = TcpView::Parse(data);
  if (!tcp) return;
  Touch(tcp->option_bytes());
  Touch(tcp->payload());
  sink = tcp->VerifyChecksum(kOurs, kPeer) + tcp->VerifyChecksum(kOurs6, kPeer6);
  TcpOptions options = tcp->options();
  options.md5 = false;  // neither is written as it was read
  options.window_scale_clamped = false;
  if (options.EmitSize() > TcpOptions::kMaxSize) return;
  uint8_t bytes[TcpOptions::kMaxSize];
  const TcpOptions again =
      TcpOptions::Parse({bytes, options.Emit(bytes)}, tcp->has(TcpFlags::kSyn));
  Require(again.mss == options.mss && again.window_scale == options.window_scale &&
              again.sack_permitted == options.sack_permitted &&
              again.timestamps == options.timestamps && again.fast_open == options.fast_open &&
              again.sack_count == options.sack_count,
          "options read the same after they were written");
}

void Ipv4(ByteSpan data) {
  const auto ip = Ipv4View::Parse(data);
  if (!ip) return;
  Touch(ip->options());
  Touch(ip->payload());
  Touch(ip->packet());
  sink = ip->VerifyChecksum();
}

void Ipv6(ByteSpan data) {
  const auto ip = Ipv6View::Parse(data);
  if (!ip) return;
  Touch(ip->packet());
  const Ipv6Extensions e = Ipv6Extensions::Walk(*ip);
  const size_t size = ip->packet().size();
  Require(e.payload_at <= size && e.protocol_at < size && e.problem_at <= size,
          "offsets of the extension headers lie within the packet");
  Touch(ip->packet().subspan(e.payload_at));
  if (e.fragment)
    Require(e.fragment->header_at + 8u <= size && e.fragment->next_header_at < size,
            "the Fragment header lies within the packet");
}

void Icmp(ByteSpan data) {
  if (const auto m = Icmpv4View::Parse(data)) {
    Touch(m->body());
    sink = m->VerifyChecksum() + m->is_error() + m->next_hop_mtu() + m->pointer();
    if (const auto q = m->quote()) sink = q->protocol;
  }
  if (const auto m = Icmpv6View::Parse(data)) {
    Touch(m->body());
    sink = m->VerifyChecksum(kPeer6, kOurs6) + m->mtu();
    if (const auto q = m->quote()) sink = q->protocol;
  }
}

void Neighbour(ByteSpan data, uint8_t hop_limit) {
  const NdpContext context{kPeer6, kOurs6, hop_limit};
  sink = NeighborSolicitation::Parse(data, context).has_value() +
         NeighborAdvertisement::Parse(data, context).has_value() +
         RouterSolicitation::Parse(data, context).has_value() +
         RouterAdvertisement::Parse(data, context).has_value() + MldQuery::Parse(data).has_value() +
         NdpOptions::Parse(data).has_value() + ArpPacket::Parse(data).has_value();
}

}  // namespace
}  // namespace usher::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace usher;
  using namespace usher::fuzz;
  if (size == 0) return 0;
  const ByteSpan data(bytes + 1, size - 1);
  switch (bytes[0] % 7) {
    case 0:
      Tcp(data);
      break;
    case 1:
      Ipv4(data);
      break;
    case 2:
      Ipv6(data);
      break;
    case 3:
      Icmp(data);
      break;
    case 4:
      Neighbour(data, 255);
      break;
    case 5:
      if (const auto e = EthernetView::Parse(data)) Touch(e->payload());
      break;
    default:
      if (const auto u = UdpView::Parse(data)) Touch(u->payload());
  }
  return 0;
}

// The network layer: whole frames, raw or with the headers made right so that more is reached, into
// a running stack. No input crashes it, and none keeps a buffer.
#include <fuzzer/FuzzedDataProvider.h>

#include "stack/wire/icmpv4.h"
#include "stack/wire/icmpv6.h"
#include "tests/fuzz/fuzz_stack.h"

namespace usher::fuzz {
namespace {

struct NoOne : Application {};

std::vector<uint8_t> Raw(FuzzedDataProvider& in, uint16_t type) {
  const auto payload = in.ConsumeRandomLengthString(1600);
  std::vector<uint8_t> frame(EthernetView::kHeaderSize + payload.size());
  EthernetHeader{
      .dst = in.ConsumeBool() ? kOurMac : MacAddress::Broadcast(), .src = kPeerMac, .type = type}
      .Emit(frame.data());
  std::copy(payload.begin(), payload.end(), frame.begin() + EthernetView::kHeaderSize);
  return frame;
}

// A message of ICMP or ICMPv6 with the right checksum.
std::vector<uint8_t> Icmp(FuzzedDataProvider& in, bool v4) {
  const auto text = in.ConsumeRandomLengthString(1400);
  std::vector<uint8_t> message(text.begin(), text.end());
  if (message.size() < 8) message.resize(8);
  message[2] = message[3] = 0;
  if (v4) {
    const uint16_t sum = checksum::Finish(checksum::Sum(message));
    Store16(message.data() + 2, sum);
  } else {
    FillIcmpv6Checksum(message.data(), message.size(), kPeer6, kOurs6);
  }
  return FrameOf(v4, v4 ? IpProtocol::kIcmp : IpProtocol::kIcmpv6, message, 0, 255);
}

// A fragment of one of few datagrams, so that they come together.
std::vector<uint8_t> Fragment(FuzzedDataProvider& in) {
  const auto text = in.ConsumeRandomLengthString(200);
  const std::vector<uint8_t> data(text.begin(), text.end());
  std::vector<uint8_t> frame = FrameOf(true, IpProtocol::kTcp, data);
  Ipv4Header{.src = kPeer,
             .dst = kOurs,
             .payload_length = static_cast<uint16_t>(data.size()),
             .id = in.ConsumeIntegralInRange<uint16_t>(0, 3),
             .fragment_offset = static_cast<uint16_t>(8 * in.ConsumeIntegralInRange(0, 40)),
             .dont_fragment = false,
             .more_fragments = in.ConsumeBool()}
      .Emit(frame.data() + EthernetView::kHeaderSize);
  return frame;
}

void OneStep(FuzzStack& stack, FuzzedDataProvider& in) {
  switch (in.ConsumeIntegralInRange(0, 8)) {
    case 0:
      return stack.Give(Raw(in, EtherType::kArp));
    case 1:
      return stack.Give(Raw(in, EtherType::kIpv4));
    case 2:
      return stack.Give(Raw(in, EtherType::kIpv6));
    case 3:
      return stack.Give(Raw(in, in.ConsumeIntegral<uint16_t>()));
    case 4:
      return stack.Give(Icmp(in, true));
    case 5:
      return stack.Give(Icmp(in, false));
    case 6:
      return stack.Give(Fragment(in));
    case 7: {
      const auto text = in.ConsumeRandomLengthString(1400);
      return stack.Give(FrameOf(in.ConsumeBool(), in.ConsumeIntegral<uint8_t>(),
                                std::vector<uint8_t>(text.begin(), text.end())));
    }
    default:
      stack.Advance(Duration::Millis(in.ConsumeIntegralInRange(1, 60'000)));
  }
}

}  // namespace
}  // namespace usher::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace usher;
  using namespace usher::fuzz;
  FuzzedDataProvider in(bytes, size);
  NoOne application;
  FuzzStack stack;
  stack.stack().Listen({.port = 80}, application).IgnoreError();
  while (in.remaining_bytes() > 0) {
    OneStep(stack, in);
    stack.Poll();
    while (!stack.TakeSent().empty()) {
    }
  }
  return 0;
}

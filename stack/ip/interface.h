// One network interface of a shard: a port with addresses, its neighbours, and the input of
// everything that is not TCP.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "stack/base/counters.h"
#include "stack/base/random.h"
#include "stack/base/time.h"
#include "stack/ip/arp.h"
#include "stack/ip/context.h"
#include "stack/ip/events.h"
#include "stack/ip/icmpv4.h"
#include "stack/ip/icmpv6.h"
#include "stack/ip/l4_packet.h"
#include "stack/ip/limits.h"
#include "stack/ip/link.h"
#include "stack/ip/local_addresses.h"
#include "stack/ip/mld.h"
#include "stack/ip/ndp.h"
#include "stack/ip/neighbour_cache.h"
#include "stack/ip/reassembly.h"
#include "stack/ip/routes.h"
#include "stack/packet/burst.h"
#include "stack/port/port.h"
#include "stack/wire/address.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"

namespace usher {

struct InterfaceAddress {
  IpAddress address;
  int prefix_length = 0;

  // Reads "198.18.0.2/15" or "2001:2::2/48"; nullopt for anything else.
  static std::optional<InterfaceAddress> Parse(std::string_view text);
};

// As configured; see contracts.md, [[interface]].
struct InterfaceConfig {
  std::vector<InterfaceAddress> addresses;
  std::optional<IpAddress> gateway;  // IPv4
  std::optional<IpAddress> gateway6;
  uint16_t mtu = 1500;
  uint16_t vlan = 0;  // 0: untagged
  // Says what concerns the host as a whole: announces addresses, tests them, reports groups, asks
  // for routers and logs them. False on every shard but one.
  bool announce = true;
  int dad_transmits = 1;  // duplicate address detection (RFC 4862); 0: none
  bool accept_ra = true;  // a configured gateway6 takes the place of advertised routers
};

// InvalidArgument, with the reason, for what no interface can be. Create checks it too.
absl::Status CheckInterface(const InterfaceConfig& config);

// IPv6 is spoken if an IPv6 address is configured; a link-local address is then made from the link
// address (EUI-64, RFC 4291 appendix A) unless one is configured. Addresses in duplicate address
// detection are not used, those found duplicate never.
//
// Input: Receive() takes a burst as the port gave it, answers what concerns only the network layer,
// and leaves TCP segments and ICMP errors about them in an Ingress. Output: see egress.h. Time:
// Advance() by NextDeadline(). All from the shard's one thread.
class Interface final : private NeighbourHost {
 public:
  // `index` is the interface's number in the egress. The port, the counters and the random source
  // (asked only here) outlive the interface; a bad configuration is told with its reason.
  static absl::StatusOr<std::unique_ptr<Interface>> Create(uint8_t index, Port& port,
                                                           const InterfaceConfig& config,
                                                           const NetworkLimits& limits,
                                                           Counters& counters, RandomSource& random,
                                                           NetworkEventSink events = nullptr);
  ~Interface();
  Interface(const Interface&) = delete;
  Interface& operator=(const Interface&) = delete;

  // Makes the IPv4 addresses known on the link and begins to test the IPv6 ones. What it sends is
  // queued until Flush().
  void Start(Instant now);

  // Takes over the buffers of `burst` (at most kBurstSize packets), resets `out` and fills it: each
  // packet is in out.tcp, or answered in its own buffer, or its buffer is freed. What it sends is
  // queued until Flush().
  void Receive(Instant now, std::span<const Packet> burst, Ingress& out);

  // Called within Receive with each frame that concerns the host's other shards too; they are given
  // a copy of it to receive.
  using Relay = std::function<void(std::span<const uint8_t> frame)>;
  void set_relay(Relay relay) { relay_ = std::move(relay); }

  // Does what is due at `now`. What it sends is queued until Flush().
  void Advance(Instant now);
  Instant NextDeadline() const;

  // Hands queued frames to the port. Egress::Flush does this for all interfaces.
  void Flush() { link_.Flush(); }
  bool wants_flush() const { return link_.wants_flush(); }

  // Configures a neighbour's link address for good. False if there is no place for it.
  bool SetPermanentNeighbour(Instant now, const IpAddress& address, const MacAddress& mac) {
    return neighbours_.SetPermanent(now, address, mac);
  }

  // One more address, usable at once and alone on its prefix: neither announced nor tested. For
  // links on which nobody else could have it. No effect if it is ours already.
  void AddHostAddress(const IpAddress& address);

  // True once no address is waiting for duplicate address detection.
  bool Ready() const { return ndp_.Ready(); }

  uint8_t index() const { return context_.index; }
  Instant now() const { return context_.now; }
  uint16_t mtu(Family family) const { return family == Family::kIpv4 ? link_.mtu() : ndp_.mtu(); }

  // Our address to speak to `remote` from (RFC 6724 in short). False: none of its family.
  bool ChooseSource(const IpAddress& remote, IpAddress* local) const;

  // For the egress, telemetry and tests.
  Link& link() { return link_; }
  NeighbourCache& neighbours() { return neighbours_; }
  const LocalAddresses& addresses() const { return addresses_; }
  const Routes& routes() const { return routes_; }
  const FragmentReassembly& reassembly() const { return reassembly_; }

 private:
  enum class Cast : uint8_t { kUs, kMulticast, kNotUs };

  Interface(uint8_t index, Port& port, const InterfaceConfig& config, const NetworkLimits& limits,
            Counters& counters, RandomSource& random, NetworkEventSink events);

  // Each returns true if it took over the frame's buffer.
  bool ReceiveFrame(const Packet& packet, Ingress& out);
  bool ReceiveIpv4(const RxFrame& frame, Ingress& out);
  bool ReceiveFragment4(const RxFrame& frame, const Ipv4View& ip, Ingress& out);
  bool DeliverIpv4(const RxFrame& frame, const Ipv4View& ip, Cast cast, Ingress& out);
  bool DeliverOther4(const RxFrame& frame, const Ipv4View& ip, Cast cast, Ingress& out);
  void RefuseUdp4(const RxFrame& frame, const Ipv4View& ip);
  bool ReceiveIpv6(const RxFrame& frame, Ingress& out);
  void HearImpostor(const RxFrame& frame, const Ipv6View& ip);
  bool ReceiveFragment6(const RxFrame& frame, const Ipv6View& ip, const Ipv6Extensions& walk,
                        Ingress& out);
  bool DeliverIpv6(const RxFrame& frame, const Ipv6View& ip, const Ipv6Extensions& walk, Cast cast,
                   Ingress& out);
  bool DeliverTcp6(const RxFrame& frame, const Ipv6View& ip, uint16_t l4_at, Cast cast,
                   Ingress& out);
  void ReassemblyExpired(const RxFrame& first);

  Cast CastOfIpv6(const IpAddress& destination) const;
  Cast CastOfIpv4(uint32_t destination) const;
  bool IsMartian(uint32_t source) const;
  bool AcceptOptions(ByteSpan options) const;

  // NeighbourHost.
  void SolicitNeighbour(const IpAddress& target, const MacAddress* link_address) override;
  void SendPending(const TxPacket& packet, const MacAddress& link_address) override;
  void DropPending(const TxPacket& packet, const IpAddress& target) override;
  void NeighbourUnreachable(const IpAddress& target) override;

  const NetworkLimits limits_;
  const NetworkEventSink events_;
  Counters& counters_;
  SeededRandom random_;
  Link link_;
  LocalAddresses addresses_;
  NeighbourCache neighbours_;
  Routes routes_;
  FragmentReassembly reassembly_;
  TokenBucket icmp_rate_;
  InterfaceContext context_;
  Arp arp_;
  Icmpv4 icmpv4_;
  Mld mld_;
  Ndp ndp_;
  Icmpv6 icmpv6_;
  const bool announce_;
  Relay relay_;
  std::optional<IpAddress> gateway_;
  std::optional<IpAddress> gateway6_;
};

}  // namespace usher

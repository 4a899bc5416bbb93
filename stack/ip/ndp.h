// Neighbour discovery (RFC 4861) as a host, and duplicate address detection (RFC 4862 section 5.4,
// with the nonce of RFC 7527). The neighbour states themselves are the neighbour cache's.
#pragma once

#include <array>
#include <vector>

#include "stack/ip/context.h"
#include "stack/ip/mld.h"
#include "stack/ip/routes.h"
#include "stack/wire/ipv6.h"
#include "stack/wire/ndp.h"

namespace usher {

struct NdpSettings {
  int dad_transmits = 1;         // 0: addresses are used at once
  bool accept_ra = true;         // heed router advertisements, and ask for them
  bool accept_ra_defrtr = true;  // take default routers from them
};

class Ndp {
 public:
  Ndp(InterfaceContext& context, Routes& routes, Mld& mld, const NdpSettings& settings);

  // Begins to test the addresses, or takes them into use. `speak`: reports groups too.
  void Start(bool speak);

  // A message of types 133 to 137 that came unfragmented, checksum verified. True if the frame's
  // buffer was taken over for the answer.
  bool Receive(const RxFrame& frame, const Ipv6View& ip, ByteSpan message);

  // Asks for `target`: by unicast to `*link_address`, or of its group if that is null.
  void Solicit(const IpAddress& target, const MacAddress* link_address);

  // What routers advertise, within reason.
  uint8_t hop_limit() const { return hop_limit_; }
  uint16_t mtu() const { return mtu_; }

  // True once no address is being tested.
  bool Ready() const;

  Instant NextDeadline() const;
  void Advance();

 private:
  using Nonce = std::array<uint8_t, 6>;
  // Duplicate address detection of the address with the same index in LocalAddresses::v6().
  struct Test {
    Instant next = Instant::Never();
    int sent = 0;
    Nonce nonce{};
  };

  static constexpr Duration kSolicitDelay = Duration::Seconds(1);     // MAX_RTR_SOLICITATION_DELAY
  static constexpr Duration kSolicitInterval = Duration::Seconds(4);  // RTR_SOLICITATION_INTERVAL
  static constexpr int kSolicits = 3;                                 // MAX_RTR_SOLICITATIONS
  static constexpr Duration kConflictInterval = Duration::Seconds(10);

  bool ReceiveSolicitation(const RxFrame& frame, const Ipv6View& ip, ByteSpan message);
  void ReceiveAdvertisement(const RxFrame& frame, const Ipv6View& ip, ByteSpan message);
  void ReceiveRouterAdvertisement(const Ipv6View& ip, ByteSpan message);
  void HeedRouter(const IpAddress& router, const RouterAdvertisement& advert);
  void Answer(const RxFrame& frame, const IpAddress& target, const IpAddress& to,
              const MacAddress& mac);

  void AdvanceTest(size_t index);
  void SendTest(size_t index);
  void BecomePreferred(size_t index);
  void Announce(const IpAddress& address);
  NeighborAdvertisement Advertisement(const IpAddress& target, bool solicited) const;
  void BecomeDuplicate(size_t index, const MacAddress& owner);
  void SendRouterSolicitation();
  Duration RandomBelow(Duration d);
  static bool HasNonce(ByteSpan options, const Nonce& nonce);

  InterfaceContext& context_;
  Routes& routes_;
  Mld& mld_;
  const NdpSettings settings_;
  std::vector<Test> tests_;
  Duration retrans_timer_ = Duration::Seconds(1);
  Instant next_router_solicit_ = Instant::Never();
  int router_solicits_left_ = 0;
  Instant conflict_told_;
  bool conflict_seen_ = false;
  bool speak_ = false;
  uint8_t hop_limit_ = 64;
  uint16_t mtu_;
};

}  // namespace usher

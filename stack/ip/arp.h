// ARP (RFC 826) with conflict detection and defence (RFC 5227).
#pragma once

#include "stack/ip/context.h"
#include "stack/wire/arp.h"

namespace usher {

class Arp {
 public:
  explicit Arp(InterfaceContext& context) : context_(context) {}

  // Announces our addresses: at once and once more (RFC 5227 section 2.3).
  void Start();

  // True if the frame's buffer was taken over for the answer.
  bool Receive(const RxFrame& frame);

  // Asks for `target`: by unicast to `*link_address`, or by broadcast if that is null.
  void Solicit(const IpAddress& target, const MacAddress* link_address);

  Instant NextDeadline() const { return next_announcement_; }
  void Advance();

 private:
  static constexpr int kAnnouncements = 2;                             // ANNOUNCE_NUM
  static constexpr Duration kAnnounceInterval = Duration::Seconds(2);  // ANNOUNCE_INTERVAL
  static constexpr Duration kDefendInterval = Duration::Seconds(10);   // DEFEND_INTERVAL

  bool ReceiveRequest(const RxFrame& frame, const ArpPacket& arp);
  void ReceiveReply(const ArpPacket& arp);
  void OnConflict(LocalAddresses::V4& ours, const ArpPacket& arp);
  void Announce(const IpAddress& address);
  void AnnounceAll();
  void Send(const ArpPacket& arp, const MacAddress& dst);

  InterfaceContext& context_;
  Instant next_announcement_ = Instant::Never();
  int announcements_left_ = 0;
};

}  // namespace usher

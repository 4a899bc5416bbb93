// Multicast listener reports for the groups we are in: the solicited-node group of each address
// (RFC 3810 as a host; RFC 2710 towards an old querier; sources as in RFC 3590). Without them a
// switch that snoops keeps neighbour solicitations from us.
#pragma once

#include <vector>

#include "stack/ip/context.h"
#include "stack/wire/ipv6.h"
#include "stack/wire/mld.h"

namespace usher {

class Mld {
 public:
  explicit Mld(InterfaceContext& context) : context_(context) {}

  // Joins the group of `address`; the report goes out with the next ReportJoins().
  void Join(const IpAddress& address);
  // Leaves it, unless another address of ours has the same.
  void Leave(const IpAddress& address);
  // Says what we have joined, at once and once more.
  void ReportJoins();

  // A query, already known to have hop limit 1 and a Router Alert.
  void ReceiveQuery(const Ipv6View& ip, ByteSpan message);

  Instant NextDeadline() const { return std::min(repeat_at_, answer_at_); }
  void Advance();

  bool IsMember(const IpAddress& group) const;
  const std::vector<IpAddress>& groups() const { return groups_; }

 private:
  static constexpr Duration kReportInterval = Duration::Seconds(1);  // Unsolicited Report Interval

  void Report(uint8_t record_type, std::span<const IpAddress> groups);
  void ReportVersion1();
  Instant Within(Duration d);

  InterfaceContext& context_;
  std::vector<IpAddress> groups_;
  Instant repeat_at_ = Instant::Never();
  Instant answer_at_ = Instant::Never();
  bool answer_version1_ = false;
};

}  // namespace usher

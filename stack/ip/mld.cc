#include "stack/ip/mld.h"

#include <algorithm>

#include "stack/ip/icmpv6_output.h"

namespace usher {

namespace {

constexpr IpAddress kAllMldRouters =
    IpAddress::V6({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16});
constexpr size_t kMaxGroups = 60;  // in one report: a packet of the minimum MTU
constexpr uint8_t kReportVersion1 = 131;

}  // namespace

bool Mld::IsMember(const IpAddress& group) const {
  return std::find(groups_.begin(), groups_.end(), group) != groups_.end();
}

void Mld::Join(const IpAddress& address) {
  const IpAddress group = SolicitedNodeMulticast(address);
  if (!IsMember(group)) groups_.push_back(group);
}

void Mld::Leave(const IpAddress& address) {
  const IpAddress group = SolicitedNodeMulticast(address);
  for (const LocalAddresses::V6& a : context_.addresses.v6())
    if (a.state != AddressState::kDuplicate && SolicitedNodeMulticast(a.address) == group) return;
  if (std::erase(groups_, group) > 0) Report(MldRecordType::kChangeToInclude, {&group, 1});
}

void Mld::ReportJoins() {
  Report(MldRecordType::kChangeToExclude, groups_);
  repeat_at_ = Within(kReportInterval);
}

Instant Mld::Within(Duration d) {
  return context_.now + Duration::Nanos(static_cast<int64_t>(
                            context_.random.Uniform(static_cast<uint64_t>(d.ns()) + 1)));
}

void Mld::ReceiveQuery(const Ipv6View& ip, ByteSpan message) {
  const auto query = MldQuery::Parse(message);
  if (!query || !ip.src().is_link_local()) return;
  if (!query->group.is_unspecified() && !IsMember(query->group)) return;
  // One answer for everything asked, and never later than was promised before.
  const Instant at = Within(Duration::Millis(query->max_response_ms));
  answer_at_ = std::min(answer_at_, at);
  answer_version1_ = query->version == 1;
}

void Mld::Advance() {
  if (context_.now >= repeat_at_) {
    repeat_at_ = Instant::Never();
    Report(MldRecordType::kChangeToExclude, groups_);
  }
  if (context_.now >= answer_at_) {
    answer_at_ = Instant::Never();
    if (answer_version1_) {
      ReportVersion1();
    } else {
      Report(MldRecordType::kModeIsExclude, groups_);
    }
  }
}

void Mld::Report(uint8_t record_type, std::span<const IpAddress> groups) {
  // RFC 3590: from the unspecified address until a link-local one is usable.
  const IpAddress* source = context_.addresses.LinkLocal6();
  while (!groups.empty()) {
    const auto part = groups.first(std::min(groups.size(), kMaxGroups));
    groups = groups.subspan(part.size());
    Icmpv6Draft draft;
    if (!BeginIcmpv6(context_, &draft, MldHopByHop::kSize)) return;
    MldHopByHop::Emit(draft.message - MldHopByHop::kSize);
    const size_t size = MldReport{.record_type = record_type, .groups = part}.Emit(draft.message);
    SendIcmpv6(
        context_, draft, size,
        {.src = source != nullptr ? *source : IpAddress(), .dst = kAllMldRouters, .hop_limit = 1},
        MulticastMac(kAllMldRouters));
  }
}

void Mld::ReportVersion1() {
  const IpAddress* source = context_.addresses.LinkLocal6();
  for (const IpAddress& group : groups_) {
    Icmpv6Draft draft;
    if (!BeginIcmpv6(context_, &draft, MldHopByHop::kSize)) return;
    MldHopByHop::Emit(draft.message - MldHopByHop::kSize);
    std::memset(draft.message, 0, MldQuery::kSizeV1);
    draft.message[0] = kReportVersion1;
    StoreIpv6(draft.message + 8, group);
    SendIcmpv6(context_, draft, MldQuery::kSizeV1,
               {.src = source != nullptr ? *source : IpAddress(), .dst = group, .hop_limit = 1},
               MulticastMac(group));
  }
}

}  // namespace usher

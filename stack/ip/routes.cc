#include "stack/ip/routes.h"

#include <algorithm>

namespace usher {

Routes::Routes(const NetworkLimits& limits, const NeighbourCache& neighbours)
    : neighbours_(neighbours),
      max_learnt_(limits.on_link_prefixes),
      max_routers_(limits.default_routers) {
  learnt_.reserve(max_learnt_);
  routers_.reserve(max_routers_);
}

void Routes::AddPrefix(const IpAddress& prefix, int length) {
  prefixes_.push_back({IpPrefix(prefix, length), Instant::Never()});
}

void Routes::AddGateway(const IpAddress& gateway) {
  gateways_.push_back(gateway);
  has_gateway4_ = has_gateway4_ || gateway.is_v4();
}

bool Routes::HasGateway6() const {
  return std::any_of(gateways_.begin(), gateways_.end(),
                     [](const IpAddress& g) { return !g.is_v4(); });
}

void Routes::LearnPrefix(Instant now, const IpAddress& prefix, int length, Duration lifetime) {
  const bool v4 = prefix.is_v4();
  if (length < 1 || length > (v4 ? 32 : 128)) return;
  if (prefix.is_link_local() || prefix.is_multicast()) return;
  const auto known = std::find_if(learnt_.begin(), learnt_.end(), [&](const Prefix& p) {
    return p.prefix.length() == length && p.prefix.Contains(prefix, v4);
  });
  if (known != learnt_.end()) {
    known->until = now + lifetime;
    if (lifetime == Duration()) learnt_.erase(known);
  } else if (lifetime > Duration() && learnt_.size() < max_learnt_) {
    learnt_.push_back({IpPrefix(prefix, length), now + lifetime});
  }
}

bool Routes::LearnRouter(Instant now, const IpAddress& router, Duration lifetime) {
  const auto known = std::find_if(routers_.begin(), routers_.end(),
                                  [&](const Router& r) { return r.address == router; });
  if (known != routers_.end()) {
    known->until = now + lifetime;
    if (lifetime > Duration()) return false;
    routers_.erase(known);
    return true;
  }
  if (lifetime == Duration() || routers_.size() == max_routers_) return false;
  routers_.push_back({router, now + lifetime});
  return true;
}

int Routes::LongestPrefix(Instant now, const IpAddress& remote, bool v4) const {
  int best = -1;
  for (const Prefix& p : prefixes_)
    if (p.prefix.length() > best && p.prefix.Contains(remote, v4)) best = p.prefix.length();
  for (const Prefix& p : learnt_)
    if (p.prefix.length() > best && now < p.until && p.prefix.Contains(remote, v4))
      best = p.prefix.length();
  return best;
}

const Routes::Router* Routes::ChooseRouter(Instant now) const {
  const Router* fallback = nullptr;
  for (const Router& router : routers_) {
    if (now >= router.until) continue;
    const NeighbourState state = neighbours_.StateOf(now, router.address);
    if (state != NeighbourState::kFailed && state != NeighbourState::kIncomplete &&
        state != NeighbourState::kNone)
      return &router;
    if (fallback == nullptr || state != NeighbourState::kFailed) fallback = &router;
  }
  return fallback;
}

std::optional<Routes::Hop> Routes::Find(Instant now, const IpAddress& remote) const {
  if (!remote.is_unicast()) return std::nullopt;
  const bool v4 = remote.is_v4();
  if (const int length = LongestPrefix(now, remote, v4); length >= 0) return Hop{remote, length};
  for (const IpAddress& gateway : gateways_)
    if (gateway.is_v4() == v4) return Hop{gateway, 0};
  if (v4) return std::nullopt;
  if (const Router* router = ChooseRouter(now)) return Hop{router->address, 0};
  return std::nullopt;
}

bool Routes::IsOnLink(Instant now, const IpAddress& address) const {
  return LongestPrefix(now, address, address.is_v4()) >= 0;
}

Instant Routes::NextDeadline() const {
  Instant next = Instant::Never();
  for (const Router& router : routers_) next = std::min(next, router.until);
  for (const Prefix& prefix : learnt_) next = std::min(next, prefix.until);
  return next;
}

}  // namespace usher

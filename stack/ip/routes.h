// Where packets go that leave by one interface: prefixes on the link, and default routers.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "stack/base/time.h"
#include "stack/ip/limits.h"
#include "stack/ip/neighbour_cache.h"
#include "stack/wire/address.h"

namespace usher {

class Routes {
 public:
  struct Hop {
    IpAddress address;  // whose link address is wanted
    int prefix_length;  // of the route that matched: longer is better
  };

  Routes(const NetworkLimits& limits, const NeighbourCache& neighbours);

  // As configured.
  void AddPrefix(const IpAddress& prefix, int length);
  void AddGateway(const IpAddress& gateway);
  bool HasGateway4() const { return has_gateway4_; }
  bool HasGateway6() const;

  // From router advertisements (RFC 4861 section 6.3.4). A lifetime of zero forgets. Beyond the
  // limits news is ignored. Router: true if the list changed.
  void LearnPrefix(Instant now, const IpAddress& prefix, int length, Duration lifetime);
  bool LearnRouter(Instant now, const IpAddress& router, Duration lifetime);
  bool ForgetRouter(const IpAddress& router) { return LearnRouter(Instant(), router, Duration()); }

  // The next hop to `remote`, or nullopt. Among several default routers, one that is not known to
  // be silent (RFC 4861 section 6.3.6).
  std::optional<Hop> Find(Instant now, const IpAddress& remote) const;

  // True if `address` is a neighbour by prefix.
  bool IsOnLink(Instant now, const IpAddress& address) const;

  Instant NextDeadline() const;
  // Calls lost(router) for every learnt router whose lifetime has ended, and forgets it.
  template <class Lost>
  void Advance(Instant now, Lost&& lost) {
    for (size_t i = 0; i < routers_.size();) {
      if (routers_[i].until > now) {
        ++i;
        continue;
      }
      const IpAddress gone = routers_[i].address;
      routers_.erase(routers_.begin() + static_cast<std::ptrdiff_t>(i));
      lost(gone);
    }
    std::erase_if(learnt_, [now](const Prefix& p) { return p.until <= now; });
  }

 private:
  struct Prefix {
    IpPrefix prefix;
    Instant until;
  };
  struct Router {
    IpAddress address;
    Instant until;
  };

  int LongestPrefix(Instant now, const IpAddress& remote, bool v4) const;  // -1: none
  const Router* ChooseRouter(Instant now) const;

  const NeighbourCache& neighbours_;
  uint32_t max_learnt_;
  uint32_t max_routers_;
  std::vector<Prefix> prefixes_;
  std::vector<IpAddress> gateways_;
  bool has_gateway4_ = false;
  std::vector<Prefix> learnt_;
  std::vector<Router> routers_;
};

}  // namespace usher

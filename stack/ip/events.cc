#include "stack/ip/events.h"

#include "absl/strings/str_cat.h"

namespace usher {

std::string ToString(const NetworkEvent& event) {
  std::string what = absl::StrCat("interface ", event.interface, ": ", event.address.ToString());
  switch (event.kind) {
    case NetworkEvent::Kind::kAddressConflict:
      return absl::StrCat(what, " is also claimed by ", ToString(event.mac));
    case NetworkEvent::Kind::kDuplicateAddress:
      return absl::StrCat(what, " belongs to ", ToString(event.mac), " and is not used");
    case NetworkEvent::Kind::kAddressReady:
      return absl::StrCat(what, " is ready");
    case NetworkEvent::Kind::kRouterFound:
      return absl::StrCat(what, " is a default router");
    case NetworkEvent::Kind::kRouterLost:
      return absl::StrCat(what, " is no default router any more");
    case NetworkEvent::Kind::kUnreachable:
      return absl::StrCat(what, " does not answer");
  }
  return what;
}

}  // namespace usher

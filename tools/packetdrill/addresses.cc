#include "tools/packetdrill/addresses.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace usher::packetdrill {

int ReadSockaddr(int domain, const sockaddr* address, socklen_t length, Endpoint* out) {
  if (domain == AF_INET) {
    sockaddr_in in{};
    if (length < sizeof in) return -EINVAL;
    std::memcpy(&in, address, sizeof in);
    // An unspecified family with an unspecified address is an old way of writing AF_INET.
    if (in.sin_family != AF_INET && !(in.sin_family == AF_UNSPEC && in.sin_addr.s_addr == 0))
      return -EAFNOSUPPORT;
    out->address = IpAddress::V4(ntohl(in.sin_addr.s_addr));
    out->port = ntohs(in.sin_port);
    return 0;
  }
  constexpr socklen_t kLeast = offsetof(sockaddr_in6, sin6_scope_id);  // RFC 2133's structure
  sockaddr_in6 in{};
  if (length < kLeast) return -EINVAL;
  std::memcpy(&in, address, std::min<size_t>(length, sizeof in));
  if (in.sin6_family != AF_INET6) return -EAFNOSUPPORT;
  out->address = LoadIpv6(in.sin6_addr.s6_addr);
  out->port = ntohs(in.sin6_port);
  return 0;
}

void WriteSockaddr(int domain, const Endpoint& from, sockaddr* address, socklen_t* length) {
  if (address == nullptr || length == nullptr) return;
  sockaddr_in in{};
  sockaddr_in6 in6{};
  const void* bytes = &in;
  socklen_t size = sizeof in;
  if (domain == AF_INET) {
    in.sin_family = AF_INET;
    in.sin_port = htons(from.port);
    in.sin_addr.s_addr = htonl(from.address.v4());
  } else {
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(from.port);
    StoreIpv6(in6.sin6_addr.s6_addr, from.address);
    bytes = &in6;
    size = sizeof in6;
  }
  std::memcpy(address, bytes, std::min(*length, size));
  *length = size;
}

}  // namespace usher::packetdrill

// struct sockaddr to and from addresses of the stack.
#pragma once

#include <sys/socket.h>

#include <cstdint>

#include "stack/wire/address.h"

namespace usher::packetdrill {

struct Endpoint {
  IpAddress address;
  uint16_t port = 0;
};

// Reads `address` for a socket of family `domain`: 0, or -EINVAL (too short), -EAFNOSUPPORT.
// AF_INET6 with a mapped address gives the IPv4 address.
int ReadSockaddr(int domain, const sockaddr* address, socklen_t length, Endpoint* out);

// Writes as much as *length has room for and sets it to the whole length, as accept(2) does. No
// effect without `address`.
void WriteSockaddr(int domain, const Endpoint& from, sockaddr* address, socklen_t* length);

}  // namespace usher::packetdrill

// The addresses of one interface.
#pragma once

#include <cstdint>
#include <vector>

#include "stack/base/time.h"
#include "stack/wire/address.h"

namespace usher {

// What is known of the use of an IPv6 address (RFC 4862 section 2).
enum class AddressState : uint8_t {
  kTentative,  // being tested by duplicate address detection: not used
  kPreferred,
  kDuplicate,  // somebody else's: not used
};

class LocalAddresses {
 public:
  struct V4 {
    uint32_t address;  // host order
    uint32_t mask;
    IpAddress ip;
    Instant defended;  // last announcement against a conflict
    bool conflict = false;
  };
  struct V6 {
    IpAddress address;
    int prefix_length;
    AddressState state = AddressState::kTentative;
  };

  void Add(const IpAddress& address, int prefix_length) {
    if (address.is_v4()) {
      const uint32_t mask = prefix_length == 0 ? 0 : ~uint32_t{0} << (32 - prefix_length);
      v4_.push_back({address.v4(), mask, address, Instant(), false});
    } else {
      v6_.push_back({address, prefix_length});
    }
  }

  std::vector<V4>& v4() { return v4_; }
  const std::vector<V4>& v4() const { return v4_; }
  std::vector<V6>& v6() { return v6_; }
  const std::vector<V6>& v6() const { return v6_; }

  V4* Find4(uint32_t address) {
    for (V4& a : v4_)
      if (a.address == address) return &a;
    return nullptr;
  }
  bool Has4(uint32_t address) const {
    for (const V4& a : v4_)
      if (a.address == address) return true;
    return false;
  }
  // The address on whose prefix `address` lies, or null.
  const V4* OnLink4(uint32_t address) const {
    for (const V4& a : v4_)
      if (((a.address ^ address) & a.mask) == 0) return &a;
    return nullptr;
  }
  // The broadcast address of a prefix that is long enough to have one (RFC 3021), or its network
  // address, which old hosts broadcast to.
  bool IsSubnetBroadcast4(uint32_t address) const {
    for (const V4& a : v4_)
      if (a.mask < 0xfffffffe &&
          (address == (a.address | ~a.mask) || address == (a.address & a.mask)))
        return true;
    return false;
  }

  V6* Find6(const IpAddress& address) {
    for (V6& a : v6_)
      if (a.address == address) return &a;
    return nullptr;
  }
  // Usable as a source or destination.
  bool Has6(const IpAddress& address) const {
    for (const V6& a : v6_)
      if (a.address == address) return a.state == AddressState::kPreferred;
    return false;
  }
  bool Has(const IpAddress& address) const {
    return address.is_v4() ? Has4(address.v4()) : Has6(address);
  }
  // Our usable link-local address, or null.
  const IpAddress* LinkLocal6() const {
    for (const V6& a : v6_)
      if (a.address.is_link_local() && a.state == AddressState::kPreferred) return &a.address;
    return nullptr;
  }

 private:
  std::vector<V4> v4_;
  std::vector<V6> v6_;
};

}  // namespace usher

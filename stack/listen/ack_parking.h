// ACKs that carried a valid cookie while the accept queue was full.
//
// With a cookie nothing is stored at the SYN, and Linux drops the final ACK too when there is no
// place: the client believes in a connection that the server knows nothing of. With
// ListenSpec::cookie_ack_parking the verified ACK is kept here instead, and becomes a connection
// when a place frees. Only a peer that can receive at its address gets in, so the table is small
// and a plain array.
#pragma once

#include <cstdint>
#include <vector>

#include "stack/tcp/connection.h"

namespace usher {

struct ParkedAck {
  HandshakeResult handshake;
  uint32_t listener = 0;  // its id
  Instant expires;
};

class AckParking {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  explicit AckParking(uint32_t capacity) : capacity_(capacity) { acks_.reserve(capacity); }

  // False: no room.
  bool Add(const ParkedAck& ack) {
    if (acks_.size() == capacity_) return false;
    acks_.push_back(ack);
    return true;
  }
  uint32_t Find(const FourTuple& tuple) const {
    for (uint32_t i = 0; i < size(); ++i)
      if (acks_[i].handshake.tuple == tuple) return i;
    return kNone;
  }
  void Remove(uint32_t index) { acks_.erase(acks_.begin() + index); }

  // In the order of their coming.
  const ParkedAck& operator[](uint32_t index) const { return acks_[index]; }
  uint32_t size() const { return static_cast<uint32_t>(acks_.size()); }

 private:
  uint32_t capacity_;
  std::vector<ParkedAck> acks_;  // never beyond what is reserved
};

}  // namespace usher

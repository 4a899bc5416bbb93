// TCP_SAVE_SYN: the headers of the SYN that began a connection, kept until the application reads
// them (TCP_SAVED_SYN) or the connection ends.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>

#include "stack/base/object_pool.h"
#include "stack/base/zeroed_array.h"

namespace usher {

// Headers by request, and by connection slot from the final ACK on. Bounded: what does not fit is
// not saved. One thread.
class SavedSyns {
 public:
  // `requests` and `connections`: how many of either are named.
  SavedSyns(uint32_t capacity, uint32_t requests, uint32_t connections)
      : records_(capacity), of_request_(requests), of_connection_(connections) {}

  void Save(uint32_t request, std::span<const uint8_t> headers) {
    Save(headers, &of_request_[request]);
  }
  // Of a connection that began without a request (Fast Open).
  void SaveOfConnection(uint32_t slot, std::span<const uint8_t> headers) {
    Save(headers, &of_connection_[slot]);
  }
  void MoveToConnection(uint32_t request, uint32_t slot) {
    of_connection_[slot] = of_request_[request];
    of_request_[request] = 0;
  }
  void ForgetRequest(uint32_t request) { Drop(of_request_[request]); }
  void ForgetConnection(uint32_t slot) { Drop(of_connection_[slot]); }

  // Network header first; empty: none.
  std::span<const uint8_t> OfConnection(uint32_t slot) const {
    const uint32_t index = of_connection_[slot];
    if (index == 0) return {};
    const Record& r = records_[index - 1];
    return {r.bytes.data(), r.size};
  }
  uint32_t size() const { return records_.size(); }

 private:
  // The largest IPv4 header and TCP header; IPv6 extension headers that make it longer: not saved.
  static constexpr size_t kMaxSize = 120;
  struct Record {
    uint8_t size = 0;
    std::array<uint8_t, kMaxSize> bytes;
  };

  void Save(std::span<const uint8_t> headers, uint32_t* owner) {
    if (headers.size() > kMaxSize) return;
    const uint32_t index = records_.Allocate();
    if (index == ObjectPool<Record>::kNone) return;
    Record& r = records_[index];
    r.size = static_cast<uint8_t>(headers.size());
    std::memcpy(r.bytes.data(), headers.data(), headers.size());
    *owner = index + 1;
  }
  void Drop(uint32_t& index) {
    if (index == 0) return;
    records_.Free(index - 1);
    index = 0;
  }

  ObjectPool<Record> records_;
  ZeroedArray<uint32_t> of_request_;  // index + 1; 0: none
  ZeroedArray<uint32_t> of_connection_;
};

}  // namespace usher

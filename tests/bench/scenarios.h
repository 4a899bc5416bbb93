// The hot paths that are measured, by cycles (usher_bench.cc) and by instructions
// (instructions.cc).
//
// Each has a Burst: it prepares frames, calls `pass` once, which is to make one measured pass of
// the world, and cleans up after it. `items` is by how many the cost of that pass is divided.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tests/bench/bench_world.h"

namespace usher::bench {

// A SYN answered by cookie: nothing is stored.
class SynCookie {
 public:
  static constexpr uint32_t items = kBurstSize;
  template <class Pass>
  void Burst(Pass&& pass) {
    for (uint32_t k = 0; k < kBurstSize; ++k, ++i_)
      world.QueueSyn(World::TupleOf(i_ & 0xffffff), Seq(i_));
    pass(world);
    world.Drop();
  }
  World world{1024, 2};

 private:
  uint32_t i_ = 0;
};

// A SYN answered from the SYN table; the request is then taken back by a reset, unmeasured.
class SynTable {
 public:
  static constexpr uint32_t items = kBurstSize;
  template <class Pass>
  void Burst(Pass&& pass) {
    const uint32_t first = i_;
    for (uint32_t k = 0; k < kBurstSize; ++k)
      world.QueueSyn(World::TupleOf(i_++ & 0xffffff), Seq(1000));
    pass(world);
    world.Drop();
    for (uint32_t k = 0; k < kBurstSize; ++k)
      world.Queue(World::TupleOf((first + k) & 0xffffff), TcpFlags::kRst, Seq(1001), Seq(0), {},
                  {});
    world.Poll();
    world.Drop();
  }
  World world{65536};

 private:
  uint32_t i_ = 0;
};

// The ACK that completes a handshake, the accept included; the connection is then reset,
// unmeasured.
class HandshakeAck {
 public:
  static constexpr uint32_t items = kBurstSize;
  template <class Pass>
  void Burst(Pass&& pass) {
    world.clients.clear();
    for (uint32_t k = 0; k < kBurstSize; ++k) world.QueueSyn(World::TupleOf(k), Seq(1000));
    world.Poll();
    for (uint32_t k = 0; k < kBurstSize; ++k) {
      Client c{World::TupleOf(k), Seq(1001), Seq(0), 0};
      World::Take(c, world.port().sent()[k]);
      world.clients.push_back(c);
    }
    world.Drop();
    for (Client& c : world.clients) world.QueueData(c, TcpFlags::kAck, {});
    pass(world);
    for (Client& c : world.clients) world.QueueData(c, TcpFlags::kRst | TcpFlags::kAck, {});
    world.Poll();
    world.Drop();
  }
  World world{65536};
};

// One in-order segment of 1,448 bytes, read by slice and acknowledged.
class DataSegment {
 public:
  static constexpr uint32_t items = kBurstSize;
  DataSegment() { world.Open(0, 2 * kBurstSize); }
  template <class Pass>
  void Burst(Pass&& pass) {
    for (uint32_t k = 0; k < kBurstSize; ++k)
      world.QueueData(world.clients[i_++ % world.clients.size()], TcpFlags::kAck, payload_);
    pass(world);
    world.Drop();
  }
  World world{1024};

 private:
  const std::vector<uint8_t> payload_ = std::vector<uint8_t>(1448, 'x');
  uint32_t i_ = 0;
};

// A request of 128 bytes answered by 438; each burst touches 32 of the connections.
class Request {
 public:
  explicit Request(uint32_t connections)
      : items(std::min(kBurstSize, connections)), world(connections + 64) {
    world.responder.response.assign(438, 'y');
    world.Open(0, connections);
  }
  template <class Pass>
  void Burst(Pass&& pass) {
    const uint32_t first = i_;
    for (uint32_t k = 0; k < items; ++k)
      world.QueueData(Nth(i_++), TcpFlags::kAck | TcpFlags::kPsh, request_);
    pass(world);
    USHER_CHECK(world.port().sent().size() == items);
    for (uint32_t k = 0; k < items; ++k) World::Take(Nth(first + k), world.port().sent()[k]);
    world.Drop();
  }
  const uint32_t items;
  World world;

 private:
  // A stride that is prime to the count, so that neighbours in time are not neighbours in memory.
  Client& Nth(uint32_t i) { return world.clients[(i * 7919ull) % world.clients.size()]; }

  const std::vector<uint8_t> request_ = std::vector<uint8_t>(128, 'x');
  uint32_t i_ = 0;
};

// A pass that finds nothing to do.
class IdlePoll {
 public:
  static constexpr uint32_t items = 1;
  template <class Pass>
  void Burst(Pass&& pass) {
    pass(world);
  }
  World world{1024};
};

}  // namespace usher::bench

// How a polling thread sleeps: until a time, or until a packet comes where the port can tell.
#pragma once

#include <cstdint>
#include <vector>

#include "stack/base/time.h"
#include "stack/port/dpdk/eal.h"

namespace usher {

// One thread's. Made and used by that thread; the queues are its own and outlive it.
class Sleeper {
 public:
  Sleeper();
  ~Sleeper();
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

  // From now on a packet on this receive queue ends a sleep. False: the port has no receive
  // interrupts, or was started without them.
  bool Watch(PortId port, uint16_t queue);

  // To be called before Sleep. True: interrupts had to be switched on, and what came before would
  // raise none, so that the queues are to be looked at once more.
  bool Arm();
  // Packets are being polled for: no interrupts wanted.
  void Disarm();

  // Returns after `most`, or when a packet has come: true.
  bool Sleep(Duration most);

 private:
  struct Queue {
    PortId port;
    uint16_t queue;
    bool to_be_armed;  // others' interrupts are always on (a TAP's file descriptor)
  };

  int epoll_ = -1;
  bool armed_ = false;
  std::vector<Queue> queues_;
};

}  // namespace usher

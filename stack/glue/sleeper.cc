#include "stack/glue/sleeper.h"

#include <poll.h>
#include <rte_epoll.h>
#include <rte_ethdev.h>
#include <rte_interrupts.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <array>

namespace usher {

Sleeper::Sleeper() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

Sleeper::~Sleeper() {
  Disarm();
  for (const Queue& q : queues_)
    rte_eth_dev_rx_intr_ctl_q(q.port, q.queue, epoll_, RTE_INTR_EVENT_DEL, nullptr);
  if (epoll_ >= 0) close(epoll_);
}

bool Sleeper::Watch(PortId port, uint16_t queue) {
  if (epoll_ < 0 ||
      rte_eth_dev_rx_intr_ctl_q(port, queue, epoll_, RTE_INTR_EVENT_ADD, nullptr) != 0)
    return false;
  const bool to_be_armed = rte_eth_dev_rx_intr_enable(port, queue) == 0;
  if (to_be_armed) rte_eth_dev_rx_intr_disable(port, queue);
  queues_.push_back({port, queue, to_be_armed});
  return true;
}

bool Sleeper::Arm() {
  if (armed_) return false;
  armed_ = true;
  bool any = false;
  for (const Queue& q : queues_)
    any |= q.to_be_armed && rte_eth_dev_rx_intr_enable(q.port, q.queue) == 0;
  return any;
}

void Sleeper::Disarm() {
  if (!armed_) return;
  armed_ = false;
  for (const Queue& q : queues_)
    if (q.to_be_armed) rte_eth_dev_rx_intr_disable(q.port, q.queue);
}

bool Sleeper::Sleep(Duration most) {
  const timespec t = {.tv_sec = most.seconds(), .tv_nsec = most.ns() % 1'000'000'000};
  // DPDK's own wait knows milliseconds only.
  pollfd packets = {.fd = epoll_, .events = POLLIN, .revents = 0};
  const nfds_t watched = queues_.empty() ? 0 : 1;
  if (ppoll(&packets, watched, &t, nullptr) <= 0) return false;
  std::array<rte_epoll_event, 8> events;
  while (rte_epoll_wait(epoll_, events.data(), events.size(), 0) ==
         static_cast<int>(events.size())) {
  }
  return true;
}

}  // namespace usher

// DPDK's log, held while a set-up step runs, so that its outcome can be told in one line.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace usher {

// While alive, what DPDK logs is collected instead of printed, and so is what is written to stderr
// and stdout: EAL has a few lines and a page of usage that bypass its log, libbpf all of its own.
// At its end the lines are printed, without those known to mean nothing here, unless Discard() was
// called because an error tells them already. Main thread, during set-up; one at a time.
class ScopedEalLog {
 public:
  ScopedEalLog();
  ~ScopedEalLog();
  ScopedEalLog(const ScopedEalLog&) = delete;
  ScopedEalLog& operator=(const ScopedEalLog&) = delete;

  void Discard() { discarded_ = true; }
  bool Contains(const char* what) const;
  // The first line that contains `what`, without the name of the function that logged it.
  std::string LineWith(const char* what) const;
  // The lines that mean something, joined by "; ".
  std::string Summary() const;

 private:
  FILE* const stderr_;
  FILE* const stdout_;
  bool discarded_ = false;
};

// While alive, net_tap finds every signal it could use taken, and so reads its file descriptor on
// each poll instead of waiting for a signal per packet. That signal is no use to a thread that
// polls anyway, it interrupts the application's system calls, and it is lost when the pool is empty
// while the kernel's queue is full, after which nothing is received ever again. Needed wherever
// net_tap opens its descriptors: rte_eal_init and queue set-up. (Measured on a virtual machine of
// two cores, 64-byte datagrams from one sender: 74,000 frames a second against 37,000 with the
// signal; a poll that finds nothing costs a system call, about 1 us.) Main thread, during set-up; a
// signal of these numbers that arrives meanwhile is ignored.
class ScopedTapSignalsTaken {
 public:
  ScopedTapSignalsTaken();
  ~ScopedTapSignalsTaken();
  ScopedTapSignalsTaken(const ScopedTapSignalsTaken&) = delete;
  ScopedTapSignalsTaken& operator=(const ScopedTapSignalsTaken&) = delete;

 private:
  uint64_t taken_ = 0;  // bit s: the disposition of signal s was the default and is to be again
};

}  // namespace usher

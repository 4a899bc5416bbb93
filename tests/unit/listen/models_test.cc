// The rule book of each listen model as one table: what a SYN, and what the last ACK of a
// handshake, meets at given lengths of the two queues. The `linux` model is also held against the
// live kernel (tests/differential).
#include "tests/support/passive_open_fixture.h"

namespace usher::test {
namespace {

constexpr auto kClassic = ListenModel::kLinuxClassic;
constexpr auto kLinux = ListenModel::kLinux;
constexpr auto kBsd = ListenModel::kBsd;

enum class Answer { kSynAck, kCookie, kSilence };

struct SynRow {
  ListenModel model;
  int backlog;
  int syncookies;
  int max_syn_backlog;
  uint32_t queued;     // completed, not accepted; made first
  uint32_t half_open;  // made then
  bool old;            // they have had their first timeout
  Answer answer;
  DropReason reason = DropReason::kCount;  // of kSilence
};

constexpr SynRow kSynRows[] = {
    // linux-classic: the table's size is a power of two above the smallest of the three, at
    // least 16.
    {kClassic, 2, 1, 8192, 0, 15, false, Answer::kSynAck},
    {kClassic, 2, 1, 8192, 0, 16, false, Answer::kCookie},
    {kClassic, 2, 0, 8192, 0, 16, false, Answer::kSilence, DropReason::kSynHalfOpenFull},
    {kClassic, 16, 1, 8192, 0, 31, false, Answer::kSynAck},
    {kClassic, 16, 1, 8192, 0, 32, false, Answer::kCookie},
    {kClassic, 128, 1, 16, 0, 31, false, Answer::kSynAck},
    {kClassic, 128, 1, 16, 0, 32, false, Answer::kCookie},
    {kClassic, 2, 2, 8192, 0, 0, false, Answer::kCookie},
    // Accept queue full: dropped only while more than one young request waits.
    {kClassic, 2, 1, 8192, 2, 5, false, Answer::kSynAck},
    {kClassic, 2, 1, 8192, 3, 0, false, Answer::kSynAck},
    {kClassic, 2, 1, 8192, 3, 1, false, Answer::kSynAck},
    {kClassic, 2, 1, 8192, 3, 2, false, Answer::kSilence, DropReason::kSynAcceptQueueFull},
    {kClassic, 2, 1, 8192, 3, 2, true, Answer::kSynAck},
    {kClassic, 0, 1, 8192, 1, 2, false, Answer::kSilence, DropReason::kSynAcceptQueueFull},
    {kClassic, -1, 1, 8192, 10, 10, false, Answer::kSynAck},
    // Without cookies the last quarter of tcp_max_syn_backlog is for others.
    {kClassic, 100, 0, 16, 0, 12, false, Answer::kSynAck},
    {kClassic, 100, 0, 16, 0, 13, false, Answer::kSilence, DropReason::kSynLastQuarter},
    {kClassic, 100, 1, 16, 0, 13, false, Answer::kSynAck},
    // linux: half-open requests against the accept queue's limit, and every SYN against its length.
    {kLinux, 2, 1, 8192, 0, 2, false, Answer::kSynAck},
    {kLinux, 2, 1, 8192, 0, 3, false, Answer::kCookie},
    {kLinux, 2, 0, 8192, 0, 3, false, Answer::kSilence, DropReason::kSynHalfOpenFull},
    {kLinux, 2, 1, 8192, 2, 1, false, Answer::kSynAck},
    {kLinux, 2, 1, 8192, 3, 0, false, Answer::kSilence, DropReason::kSynAcceptQueueFull},
    {kLinux, 100, 0, 16, 0, 13, false, Answer::kSilence, DropReason::kSynLastQuarter},
    // bsd: one logical queue of 3 * limit / 2 + 1 places; no cookies, no quarter, no RST.
    {kBsd, 4, 1, 8192, 0, 6, false, Answer::kSynAck},
    {kBsd, 4, 1, 8192, 0, 7, false, Answer::kSilence, DropReason::kSynQueueFull},
    {kBsd, 4, 1, 8192, 3, 3, false, Answer::kSynAck},
    {kBsd, 4, 1, 8192, 4, 3, false, Answer::kSilence, DropReason::kSynQueueFull},
    {kBsd, 4, 1, 8192, 7, 0, false, Answer::kSilence, DropReason::kSynQueueFull},
    {kBsd, 4, 1, 8192, 4, 3, true, Answer::kSilence, DropReason::kSynQueueFull},
    {kBsd, 4, 0, 8192, 0, 7, false, Answer::kSilence, DropReason::kSynQueueFull},
    {kBsd, 4, 2, 8192, 0, 0, false, Answer::kSynAck},
    {kBsd, 0, 1, 8192, 0, 0, false, Answer::kSynAck},
    {kBsd, 0, 1, 8192, 1, 0, false, Answer::kSilence, DropReason::kSynQueueFull},
    {kBsd, -1, 1, 8192, 0, 1, false, Answer::kSilence, DropReason::kSynQueueFull},
    {kBsd, 100, 0, 4, 0, 20, false, Answer::kSynAck},
};

struct AckRow {
  ListenModel model;
  int backlog;
  uint32_t queued;  // made after the request
  bool abort_on_overflow;
  const char* flags;  // of the answer; "": none
  bool connected;
  bool kept;  // the request
};

constexpr AckRow kAckRows[] = {
    {kClassic, 1, 1, false, "", true, false},  {kClassic, 1, 2, false, "", false, true},
    {kClassic, 1, 2, true, "R", false, false}, {kLinux, 1, 1, false, "", true, false},
    {kLinux, 1, 2, false, "", false, true},    {kLinux, 1, 2, true, "R", false, false},
    {kBsd, 1, 1, false, "", true, false},      {kBsd, 1, 1, true, "", true, false},
};

class ModelsTest : public PassiveOpenTest {
 protected:
  void Fill(Handle listener, uint16_t port, uint32_t queued, uint32_t half_open) {
    for (uint32_t i = 0; i < queued; ++i) Handshake(Client(2000 + i, port));
    ASSERT_EQ(L(listener).accept_queue.length(), queued);
    for (uint32_t i = 0; i < half_open; ++i) Give(LinuxSyn(Client(1000 + i, port)));
    ASSERT_EQ(L(listener).half_open, half_open);
    DropSent();
  }
};

TEST_P(ModelsTest, WhatASynMeets) {
  uint16_t port = 100;
  for (const SynRow& row : kSynRows) {
    SCOPED_TRACE(testing::Message()
                 << ToString(row.model) << " backlog " << row.backlog << " tcp_syncookies "
                 << row.syncookies << " queued " << row.queued << " half-open " << row.half_open);
    sysctls_.tcp_syncookies = row.syncookies;
    sysctls_.tcp_max_syn_backlog = row.max_syn_backlog;
    const Handle listener = Listen({.port = ++port, .backlog = row.backlog, .model = row.model});
    Fill(listener, port, row.queued, row.half_open);
    if (row.old) {
      Pass(Duration::Millis(1100));
      DropSent();
    }
    const uint64_t cookies = Count(Counter::TcpExtSyncookiesSent);
    const uint64_t drops = Count(Counter::TcpExtListenDrops);
    if (row.answer == Answer::kSilence) {
      GiveSilently(LinuxSyn(Client(1, port)));
      EXPECT_EQ(L(listener).counters.drops[row.reason], 1u);
      EXPECT_EQ(Count(Counter::TcpExtListenDrops), drops + 1);
    } else {
      EXPECT_THAT(Exchange(LinuxSyn(Client(1, port))), HasFlags("SA"));
    }
    EXPECT_EQ(Count(Counter::TcpExtSyncookiesSent) - cookies, row.answer == Answer::kCookie);
    EXPECT_EQ(L(listener).half_open, row.half_open + (row.answer == Answer::kSynAck));
    CloseListener(listener);
    Pass(Duration::Seconds(200));  // its requests end
    DropSent();
  }
}

TEST_P(ModelsTest, WhatTheLastAckMeets) {
  uint16_t port = 100;
  for (const AckRow& row : kAckRows) {
    SCOPED_TRACE(testing::Message() << ToString(row.model) << " queued " << row.queued
                                    << " tcp_abort_on_overflow " << row.abort_on_overflow);
    sysctls_.tcp_abort_on_overflow = row.abort_on_overflow;
    const Handle listener = Listen({.port = ++port, .backlog = row.backlog, .model = row.model});
    const SentTcp syn_ack = Exchange(LinuxSyn(Client(1, port)));
    for (uint32_t i = 0; i < row.queued; ++i) Handshake(Client(2000 + i, port));
    DropSent();
    const uint64_t overflows = Count(Counter::TcpExtListenOverflows);
    if (*row.flags == '\0')
      GiveSilently(FinalAck(syn_ack));
    else
      EXPECT_THAT(Exchange(FinalAck(syn_ack)), HasFlags(row.flags));
    EXPECT_EQ(L(listener).accept_queue.length(), row.queued + row.connected);
    EXPECT_EQ(L(listener).half_open, row.kept);
    EXPECT_EQ(Count(Counter::TcpExtListenOverflows) - overflows, !row.connected);
    if (!row.kept) continue;
    ASSERT_NE(Accept(listener), nullptr);
    GiveSilently(FinalAck(syn_ack));
    EXPECT_EQ(L(listener).accept_queue.length(), row.queued);
    EXPECT_EQ(L(listener).half_open, 0u);
  }
}

USHER_FOR_BOTH_FAMILIES(ModelsTest);

}  // namespace
}  // namespace usher::test

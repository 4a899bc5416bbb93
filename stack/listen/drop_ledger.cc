#include "stack/listen/drop_ledger.h"

#include <iterator>

namespace usher {

namespace {

// In the order of DropReason.
constexpr const char* kNames[] = {
    "syn-no-listener",       "syn-bad-flags",         "syn-not-unicast",
    "syn-half-open-full",    "syn-accept-queue-full", "syn-queue-full",
    "syn-last-quarter",      "syn-no-record",         "syn-no-route",
    "syn-no-timestamp",      "syn-signature",         "syn-rate-limited",
    "syn-out-of-window",     "syn-in-window",         "syn-time-wait",
    "syn-ended-by-timeout",  "syn-ended-by-pruning",  "syn-ended-by-reset",
    "syn-ended-by-syn",      "syn-ended-by-close",    "syn-ended-by-cookie",
    "syn-ended-by-overflow", "ack-no-listener",       "ack-unexpected",
    "ack-with-syn",          "ack-cookie-failed",     "ack-cookie-options",
    "ack-cookie-of-request", "ack-cookie-queue-full", "ack-accept-queue-full",
    "ack-signature",         "ack-out-of-window",     "ack-paws",
    "ack-timestamp-echo",    "ack-deferred",          "ack-no-connection",
    "ack-no-route",          "ack-parked-again",      "ack-parked-gone",
    "ack-ended-by-close",
};
static_assert(std::size(kNames) == kDropReasons);

}  // namespace

const char* ToString(DropReason reason) {
  return reason < DropReason::kCount ? kNames[static_cast<size_t>(reason)] : "?";
}

void DropLedger::Add(const DropLedger& other) {
  for (size_t i = 0; i < kDropReasons; ++i) rows_[i] += other.rows_[i];
}

uint64_t DropLedger::syns() const {
  uint64_t sum = 0;
  for (size_t i = 0; i < kFirstAckReason; ++i) sum += rows_[i];
  return sum;
}

uint64_t DropLedger::acks() const {
  uint64_t sum = 0;
  for (size_t i = kFirstAckReason; i < kDropReasons; ++i) sum += rows_[i];
  return sum;
}

}  // namespace usher

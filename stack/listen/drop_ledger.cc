#include "stack/listen/drop_ledger.h"

namespace usher {

const char* ToString(DropReason reason) {
  switch (reason) {
    case DropReason::kSynNoListener:
      return "syn-no-listener";
    case DropReason::kSynBadFlags:
      return "syn-bad-flags";
    case DropReason::kSynNotUnicast:
      return "syn-not-unicast";
    case DropReason::kSynHalfOpenFull:
      return "syn-half-open-full";
    case DropReason::kSynAcceptQueueFull:
      return "syn-accept-queue-full";
    case DropReason::kSynQueueFull:
      return "syn-queue-full";
    case DropReason::kSynLastQuarter:
      return "syn-last-quarter";
    case DropReason::kSynNoRecord:
      return "syn-no-record";
    case DropReason::kSynNoRoute:
      return "syn-no-route";
    case DropReason::kSynNoTimestamp:
      return "syn-no-timestamp";
    case DropReason::kSynSignature:
      return "syn-signature";
    case DropReason::kSynRateLimited:
      return "syn-rate-limited";
    case DropReason::kSynOutOfWindow:
      return "syn-out-of-window";
    case DropReason::kSynInWindow:
      return "syn-in-window";
    case DropReason::kSynTimeWait:
      return "syn-time-wait";
    case DropReason::kSynEndedByTimeout:
      return "syn-ended-by-timeout";
    case DropReason::kSynEndedByPruning:
      return "syn-ended-by-pruning";
    case DropReason::kSynEndedByReset:
      return "syn-ended-by-reset";
    case DropReason::kSynEndedBySyn:
      return "syn-ended-by-syn";
    case DropReason::kSynEndedByClose:
      return "syn-ended-by-close";
    case DropReason::kSynEndedByCookie:
      return "syn-ended-by-cookie";
    case DropReason::kSynEndedByOverflow:
      return "syn-ended-by-overflow";
    case DropReason::kAckNoListener:
      return "ack-no-listener";
    case DropReason::kAckUnexpected:
      return "ack-unexpected";
    case DropReason::kAckWithSyn:
      return "ack-with-syn";
    case DropReason::kAckCookieFailed:
      return "ack-cookie-failed";
    case DropReason::kAckCookieOptions:
      return "ack-cookie-options";
    case DropReason::kAckCookieOfRequest:
      return "ack-cookie-of-request";
    case DropReason::kAckCookieQueueFull:
      return "ack-cookie-queue-full";
    case DropReason::kAckAcceptQueueFull:
      return "ack-accept-queue-full";
    case DropReason::kAckSignature:
      return "ack-signature";
    case DropReason::kAckOutOfWindow:
      return "ack-out-of-window";
    case DropReason::kAckPaws:
      return "ack-paws";
    case DropReason::kAckTimestampEcho:
      return "ack-timestamp-echo";
    case DropReason::kAckDeferred:
      return "ack-deferred";
    case DropReason::kAckNoConnection:
      return "ack-no-connection";
    case DropReason::kAckNoRoute:
      return "ack-no-route";
    case DropReason::kAckParkedAgain:
      return "ack-parked-again";
    case DropReason::kAckParkedGone:
      return "ack-parked-gone";
    case DropReason::kAckEndedByClose:
      return "ack-ended-by-close";
    case DropReason::kCount:
      break;
  }
  return "?";
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

// What RFC 9293 section 3.10.7 says of a segment that arrives, written by hand from its text, not
// from the code under test. RFC 5961 replaces its rules for RST, SYN and old acknowledgments. Where
// this stack means to differ, the difference is named in oracle.cc ("DEPARTURE") with the function
// of Linux that does the same.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include "stack/base/seq.h"
#include "stack/tcp/types.h"

namespace usher::test {

// Where a connection can be: the states of section 3.3.2, some of them in two forms.
enum class Place : uint8_t {
  kClosed,
  kListen,
  kSynSent,
  kSynReceived,        // from LISTEN: a request of listen/
  kSynReceivedActive,  // from SYN-SENT: both opened at once
  kEstablished,
  kEstablishedUnread,  // the user has not read what arrived
  kFinWait1,           // shut down for writing; the user still reads
  kFinWait1Closed,     // closed: nobody reads
  kFinWait2,
  kFinWait2Closed,  // a record of tcp/time_wait.h
  kCloseWait,
  kClosing,
  kClosingClosed,
  kLastAck,
  kLastAckClosed,
  kTimeWait,
};
inline constexpr int kPlaces = 17;
std::string ToString(Place place);

// The connection as its peer knows it: section 3.3.1.
struct Station {
  Place place = Place::kClosed;
  Seq iss, snd_una, snd_nxt;
  Seq irs, rcv_nxt, right_edge;  // right_edge = RCV.NXT + RCV.WND
  uint32_t max_window = 0;       // MAX.SND.WND of RFC 5961 section 5.2
  bool unread = false;           // text or the end of the stream waits to be read
};

struct Arrival {
  uint16_t flags = 0;
  Seq seq, ack;
  uint32_t text = 0;  // bytes

  bool Has(uint16_t flag) const { return (flags & flag) != 0; }
  uint32_t Length() const;  // SEG.LEN
  Seq End() const { return seq + Length(); }
};

enum class Reply : uint8_t {
  kNone,
  kAck,      // <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK> at once
  kAckSoon,  // the same; may be delayed (section 3.8.6.3)
  kReset,
  kSynAck,
  kOther,  // never expected
};

// What a segment leads to.
struct Outcome {
  Reply reply = Reply::kNone;
  Seq seq;                 // of the reply
  std::optional<Seq> ack;  // of the reply; a reset may have none
  TcpState next = TcpState::kClosed;
  bool opened = false;          // the user is told: accepted, or connected
  uint32_t delivered = 0;       // bytes of text the user can read now
  bool end_of_stream = false;   // the user reads the end of the stream
  std::optional<Error> closed;  // the user is told that it is over, and why
  Seq snd_una, rcv_nxt;         // afterwards
  bool has_numbers = true;      // false for what was seen of a record: it does not show them
  std::string other;            // of kOther: what it was
};
// Where there is no connection, CLOSED and LISTEN look the same.
bool Agrees(const Outcome& expected, const Outcome& seen);
std::ostream& operator<<(std::ostream& out, const Outcome& o);

Outcome Expected(const Station& station, const Arrival& arrival);

}  // namespace usher::test

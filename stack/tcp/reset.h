// Resets for segments that no connection wants.
#pragma once

#include "stack/base/counters.h"
#include "stack/ip/egress.h"
#include "stack/tcp/md5.h"
#include "stack/tcp/segment.h"

namespace usher {

// Answers `s` with the RST of RFC 9293 section 3.10.7.1 (it takes the sequence number from the
// acknowledgment, or acknowledges the segment), in the segment's own buffer. Never answers a RST,
// nor what was sent to a broadcast or multicast address. With a key it is signed; without
// one, who signs would not believe it.
void SendReset(Egress& egress, Counters& counters, Segment& s, const Md5Key* md5 = nullptr);

}  // namespace usher

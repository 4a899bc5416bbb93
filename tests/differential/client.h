// The raw clients of a schedule: they turn symbolic segments into packets, and what the server
// sends into text in which nothing is random.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "stack/wire/address.h"
#include "tests/differential/schedule.h"

namespace usher::differential {

using Bytes = std::vector<uint8_t>;

inline constexpr uint16_t kServerPort = 80;
inline constexpr uint8_t kMaxClients = 27;
// The least receive MSS that Linux assumes: from there on a segment tells it how memory-hungry the
// peer's segments are.
inline constexpr uint16_t kMuchData = 88;

IpAddress ServerAddress(bool ipv6);
IpAddress ClientAddress(bool ipv6, uint8_t client);
uint16_t ClientPort(uint8_t client);
// The client whose name that is; none: not one of ours.
std::optional<uint8_t> ClientOf(const IpAddress& address, uint16_t port);

// "SA" and so on; "." for none.
std::string FlagText(uint16_t flags);

// A packet from the server, readable and comparable.
struct Received {
  uint8_t client = 0;
  std::string text;
};

class Client {
 public:
  Client() = default;
  Client(uint64_t seed, bool ipv6, uint8_t index);

  // The IP packet of a step. `number` is the step's, which the client's timestamps grow with.
  Bytes Make(SegmentStep step, uint32_t number);
  // A RST that ends whatever the server still has outstanding to us; none: it has nothing.
  std::optional<Bytes> Settle();
  // Reads an IP packet from the server; `cookie`: a SYN-ACK in it may be a cookie, whose number and
  // timestamp mean nothing. Updates what is known of the server.
  std::string Read(std::span<const uint8_t> packet, bool cookie);

  // Its SYN-ACK came more than once.
  bool synack_again() const { return synack_again_; }

 private:
  Bytes Packet(const SegmentStep& step, uint32_t seq, uint32_t ack,
               std::span<const uint8_t> options);
  Bytes Options(const SegmentStep& step, uint32_t number) const;
  void AppendFastOpen(const SegmentStep& step, Bytes& options) const;
  std::string Relative(uint32_t seq) const;
  bool IsPredictedTooOld(const SegmentStep& s, uint32_t seq, uint32_t ack) const;
  bool BeginsInsideAtABorder(const SegmentStep& s, uint32_t seq) const;

  bool ipv6_ = false;
  uint8_t index_ = 0;
  uint32_t isn_ = 0;
  uint32_t next_ = 0;
  uint32_t server_isn_ = 0x20000000;  // a made-up one until a SYN-ACK tells
  uint32_t previous_isn_ = 0x20000000;
  uint32_t first_ = 0x20000001;  // the server's first number behind its SYN
  uint32_t server_next_ = 0x20000001;
  uint32_t expected_ = 0;        // the number that the server waits for
  uint32_t acked_ = 0x20000001;  // the highest number that this client has acknowledged
  uint32_t last_ack_ = 0;        // of the segment last sent
  uint16_t max_window_ = 0;      // the largest window field sent
  Bytes cookie_;                 // for Fast Open, as the server gave it last
  uint32_t first_tsval_ = 0;
  uint32_t last_tsval_ = 0;
  uint32_t fin_ = 0;            // the number of our FIN
  std::set<uint32_t> borders_;  // where segments with data ended
  bool fin_sent_ = false;
  bool far_fin_ = false;  // sent a FIN that the server was not waiting for
  bool server_fin_ = false;
  bool known_ = false;
  bool synack_again_ = false;
  bool completed_ = false;  // sent what completes the handshake
  bool stamped_ = false;    // its SYN-ACK had a timestamp
  bool by_cookie_ = false;  // its SYN-ACK was a cookie
  bool sent_much_ = false;  // a segment with so much data that it changes Linux's idea of a window
};

}  // namespace usher::differential

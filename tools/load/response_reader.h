// A client's reading of HTTP/1.x responses.
#pragma once

#include <http_parser.h>

#include <array>
#include <cstdint>
#include <span>

#include "app/http/body_decoder.h"

namespace usher::load {

// Of a response, what its reader has to know.
struct ResponseHead {
  uint16_t status = 0;
  bool keep_alive = false;  // false: the connection ends behind this response
  bool chunked = false;
  bool to_end = false;  // the body ends with the connection
  uint64_t length = 0;  // of the body, if neither of these
};

// The head that came last, byte for byte: a server under load gives the same one again and again
// (but for its Date), and comparing costs less than parsing. Shared by the readers of one thread.
struct LastHead {
  size_t size = 0;
  ResponseHead head;
  std::array<uint8_t, 512> bytes;
};

// Cuts the stream of one connection into responses to GET, in whatever pieces it comes. Never
// allocates. One thread.
class ResponseReader {
 public:
  enum class State { kMore, kDone, kBad };
  struct Step {
    size_t consumed = 0;    // bytes of the input used up
    size_t body_bytes = 0;  // of these, bytes of a body
    State state = State::kMore;
  };

  explicit ResponseReader(LastHead* last) : last_(last) { Start(); }

  // Begins a new stream.
  void Start();
  // Takes bytes off the front of `in`, of one response at most. kDone: head() is that of the
  // response that ends here. kBad: this is not HTTP; nothing more can be read.
  Step Next(std::span<const uint8_t> in);
  // The stream has ended. kDone: and with it a response, as it should; kMore: between two
  // responses; kBad: in the middle of one.
  State End();
  const ResponseHead& head() const { return head_; }

 private:
  static constexpr uint32_t kMostHeadBytes = 65536;

  static const http_parser_settings& Settings();
  bool TakeKnownHead(std::span<const uint8_t> in, Step* step);
  void ParseHead(std::span<const uint8_t> in, Step* step);
  void TakeHead();
  void TakeBody(std::span<const uint8_t> in, Step* step);

  LastHead* last_;
  http_parser parser_;
  ResponseHead head_;
  BodyDecoder body_;
  uint32_t head_bytes_ = 0;  // so far
  bool head_complete_ = false;
};

}  // namespace usher::load

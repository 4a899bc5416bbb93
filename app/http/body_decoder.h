// The body of a request as it comes in: by Content-Length or in chunks (RFC 9112 section 7.1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace usher {

// Cuts a request's body out of the stream. http_parser could, but Debian builds it without its
// strict checks: it then takes any two bytes for the CRLF after a chunk and a bare LF inside an
// extension, which is what request smuggling lives on. Never allocates. Not thread safe.
class BodyDecoder {
 public:
  enum class State { kMore, kDone, kBad };
  struct Step {
    size_t consumed = 0;            // bytes of the input used up, framing included
    std::span<const uint8_t> data;  // body bytes found, a part of the input
    State state = State::kMore;
  };

  void StartLength(uint64_t length);
  void StartChunked();

  // Takes framing and at most one run of body bytes from the front of `in`. kDone: the body is
  // complete with this step. kBad: the framing is broken and nothing more can be read.
  Step Next(std::span<const uint8_t> in);

 private:
  enum class At : uint8_t {
    kLengthData,
    kSizeFirst,  // the first digit of a chunk's size
    kSize,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailerStart,
    kTrailer,
    kTrailerLf,
    kEndLf,
  };

  // Takes one byte of framing; false if it cannot stand there. Sets *done on the last one.
  bool Frame(uint8_t c, bool* done);
  bool SizeDigit(uint8_t c);

  At at_ = At::kLengthData;
  uint64_t left_ = 0;           // of the chunk or of the body
  uint32_t framing_bytes_ = 0;  // since the last data: bounds extensions and trailers
};

}  // namespace usher

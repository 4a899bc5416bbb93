#include "app/http/body_decoder.h"

#include <algorithm>

namespace usher {
namespace {

// Longest size line with extensions, and longest trailer section.
constexpr uint32_t kMaxFramingBytes = 8192;
constexpr uint64_t kMaxChunk = uint64_t{1} << 60;

int HexValue(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool IsText(uint8_t c) { return c == '\t' || (c >= 0x20 && c != 0x7f); }

}  // namespace

void BodyDecoder::StartLength(uint64_t length) {
  at_ = At::kLengthData;
  left_ = length;
}

void BodyDecoder::StartChunked() {
  at_ = At::kSizeFirst;
  left_ = 0;
  framing_bytes_ = 0;
}

bool BodyDecoder::SizeDigit(uint8_t c) {
  const int value = HexValue(c);
  if (value < 0 || left_ >= kMaxChunk / 16) return false;
  left_ = left_ * 16 + static_cast<uint64_t>(value);
  return true;
}

bool BodyDecoder::Frame(uint8_t c, bool* done) {
  if (++framing_bytes_ > kMaxFramingBytes) return false;
  switch (at_) {
    case At::kSizeFirst:
      at_ = At::kSize;
      return SizeDigit(c);
    case At::kSize:
      if (HexValue(c) >= 0) return SizeDigit(c);
      at_ = c == '\r' ? At::kSizeLf : At::kExtension;
      return c == '\r' || c == ';' || c == ' ' || c == '\t';
    case At::kExtension:
      if (c == '\r') at_ = At::kSizeLf;
      return c == '\r' || IsText(c);
    case At::kSizeLf:
      at_ = left_ > 0 ? At::kData : At::kTrailerStart;
      framing_bytes_ = 0;
      return c == '\n';
    case At::kDataCr:
      at_ = At::kDataLf;
      return c == '\r';
    case At::kDataLf:
      at_ = At::kSizeFirst;
      return c == '\n';
    case At::kTrailerStart:
      at_ = c == '\r' ? At::kEndLf : At::kTrailer;
      return c == '\r' || (IsText(c) && c != ' ' && c != '\t');
    case At::kTrailer:
      if (c == '\r') at_ = At::kTrailerLf;
      return c == '\r' || IsText(c);
    case At::kTrailerLf:
      at_ = At::kTrailerStart;
      return c == '\n';
    case At::kEndLf:
      *done = true;
      return c == '\n';
    case At::kLengthData:
    case At::kData:
      break;
  }
  return false;
}

BodyDecoder::Step BodyDecoder::Next(std::span<const uint8_t> in) {
  Step step;
  while (step.consumed < in.size()) {
    if (at_ == At::kData || at_ == At::kLengthData) {
      const size_t run = std::min<uint64_t>(left_, in.size() - step.consumed);
      step.data = in.subspan(step.consumed, run);
      step.consumed += run;
      left_ -= run;
      if (left_ > 0) return step;
      if (at_ == At::kLengthData) {
        step.state = State::kDone;
        return step;
      }
      at_ = At::kDataCr;
      framing_bytes_ = 0;
      return step;
    }
    bool done = false;
    if (!Frame(in[step.consumed++], &done)) {
      step.state = State::kBad;
      return step;
    }
    if (done) {
      step.state = State::kDone;
      return step;
    }
  }
  return step;
}

}  // namespace usher

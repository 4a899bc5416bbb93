#include "tools/load/response_reader.h"

#include <algorithm>
#include <cstring>

namespace usher::load {

const http_parser_settings& ResponseReader::Settings() {
  static const http_parser_settings settings = [] {
    http_parser_settings s;
    http_parser_settings_init(&s);
    s.on_headers_complete = [](http_parser* parser) {
      static_cast<ResponseReader*>(parser->data)->TakeHead();
      return 1;  // the body is not the parser's
    };
    s.on_message_complete = [](http_parser* parser) {
      http_parser_pause(parser, 1);
      return 0;
    };
    return s;
  }();
  return settings;
}

void ResponseReader::Start() {
  http_parser_init(&parser_, HTTP_RESPONSE);
  parser_.data = this;
  head_bytes_ = 0;
  head_complete_ = false;
}

void ResponseReader::TakeHead() {
  head_ = {};
  head_.status = parser_.status_code;
  head_.keep_alive = http_should_keep_alive(&parser_) != 0;
  head_complete_ = true;
  const bool bodiless = head_.status < 200 || head_.status == 204 || head_.status == 304;
  if (bodiless) return;
  if ((parser_.flags & F_CHUNKED) != 0) {
    head_.chunked = true;
  } else if (parser_.content_length != UINT64_MAX) {
    head_.length = parser_.content_length;
  } else {
    head_.to_end = true;
  }
}

bool ResponseReader::TakeKnownHead(std::span<const uint8_t> in, Step* step) {
  if (head_bytes_ != 0 || last_->size == 0 || in.size() < last_->size ||
      std::memcmp(in.data(), last_->bytes.data(), last_->size) != 0)
    return false;
  head_ = last_->head;
  head_complete_ = true;
  step->consumed = last_->size;
  return true;
}

void ResponseReader::ParseHead(std::span<const uint8_t> in, Step* step) {
  step->consumed = http_parser_execute(&parser_, &Settings(),
                                       reinterpret_cast<const char*>(in.data()), in.size());
  const http_errno error = HTTP_PARSER_ERRNO(&parser_);
  const bool whole = head_bytes_ == 0;
  head_bytes_ += static_cast<uint32_t>(step->consumed);
  if ((error != HPE_OK && error != HPE_PAUSED) || head_bytes_ > kMostHeadBytes) {
    step->state = State::kBad;
    return;
  }
  if (!head_complete_) return;
  if (whole && step->consumed <= last_->bytes.size()) {
    last_->size = step->consumed;
    last_->head = head_;
    std::copy_n(in.data(), step->consumed, last_->bytes.data());
  }
}

void ResponseReader::TakeBody(std::span<const uint8_t> in, Step* step) {
  if (head_.to_end) {
    step->consumed += in.size();
    step->body_bytes += in.size();
    return;
  }
  while (step->state == State::kMore) {
    const BodyDecoder::Step taken = body_.Next(in);
    step->consumed += taken.consumed;
    step->body_bytes += taken.data.size();
    in = in.subspan(taken.consumed);
    if (taken.state == BodyDecoder::State::kDone) step->state = State::kDone;
    if (taken.state == BodyDecoder::State::kBad) step->state = State::kBad;
    if (taken.state == BodyDecoder::State::kMore && (in.empty() || taken.consumed == 0)) return;
  }
}

ResponseReader::Step ResponseReader::Next(std::span<const uint8_t> in) {
  Step step;
  if (!head_complete_) {
    if (!TakeKnownHead(in, &step)) ParseHead(in, &step);
    if (!head_complete_ || step.state == State::kBad) return step;
    if (head_.chunked) {
      body_.StartChunked();
    } else {
      body_.StartLength(head_.length);
    }
    if (head_.status < 200) {  // an interim response: the one that counts follows
      Start();
      return step;
    }
  }
  if (!head_.to_end && !head_.chunked && head_.length == 0) {
    step.state = State::kDone;
  } else {
    TakeBody(in.subspan(step.consumed), &step);
  }
  if (step.state == State::kDone) Start();
  return step;
}

ResponseReader::State ResponseReader::End() {
  const bool between = !head_complete_ && head_bytes_ == 0;
  const bool complete = head_complete_ && head_.to_end;
  Start();
  if (between) return State::kMore;
  return complete ? State::kDone : State::kBad;
}

}  // namespace usher::load

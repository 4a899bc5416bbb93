#include "tools/load/response_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace usher::load {
namespace {

using State = ResponseReader::State;

struct Answer {
  int status;
  size_t body;
  bool keep_alive;
  friend bool operator==(const Answer&, const Answer&) = default;
};
std::ostream& operator<<(std::ostream& out, const Answer& a) {
  return out << a.status << "/" << a.body << (a.keep_alive ? "/kept" : "/closed");
}

// Reads `stream` in pieces of `piece` bytes; stops at what is no HTTP.
struct Reading {
  Reading(const std::string& stream, size_t piece, LastHead* last) : reader(last) {
    size_t body = 0;
    for (size_t at = 0; at < stream.size() && !bad; at += piece) {
      const std::string part = stream.substr(at, piece);
      std::span<const uint8_t> in(reinterpret_cast<const uint8_t*>(part.data()), part.size());
      while (!in.empty() && !bad) {
        const ResponseReader::Step step = reader.Next(in);
        body += step.body_bytes;
        bad = step.state == State::kBad;
        stuck = step.state == State::kMore && step.consumed == 0;
        if (stuck) return;
        in = in.subspan(step.consumed);
        if (step.state != State::kDone) continue;
        answers.push_back({reader.head().status, body, reader.head().keep_alive});
        body = 0;
      }
    }
    left = body;
  }
  ResponseReader reader;
  std::vector<Answer> answers;
  size_t left = 0;  // of a body that has not ended
  bool bad = false;
  bool stuck = false;
};

// The same however it is cut.
std::vector<Answer> ReadAll(const std::string& stream) {
  LastHead last;
  const std::vector<Answer> whole = Reading(stream, stream.size(), &last).answers;
  for (size_t piece = 1; piece <= stream.size(); ++piece) {
    LastHead fresh;
    EXPECT_EQ(Reading(stream, piece, &fresh).answers, whole) << "in pieces of " << piece;
    EXPECT_EQ(Reading(stream, piece, &last).answers, whole) << "known head, pieces of " << piece;
  }
  return whole;
}

const std::string kHello = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello";

TEST(ResponseReaderTest, ByContentLength) {
  EXPECT_EQ(ReadAll(kHello + kHello + kHello),
            (std::vector<Answer>{{200, 5, true}, {200, 5, true}, {200, 5, true}}));
  EXPECT_EQ(ReadAll("HTTP/1.1 404 Not Found\r\ncontent-LENGTH:  0 \r\n\r\n" + kHello),
            (std::vector<Answer>{{404, 0, true}, {200, 5, true}}));
}

TEST(ResponseReaderTest, InChunks) {
  EXPECT_EQ(ReadAll("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nTrailer: 1\r\n\r\n" +
                    kHello),
            (std::vector<Answer>{{200, 6, true}, {200, 5, true}}));
}

TEST(ResponseReaderTest, WithoutABody) {
  EXPECT_EQ(
      ReadAll("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n"
              "\r\n" +
              kHello),
      (std::vector<Answer>{{204, 0, true}, {304, 0, true}, {200, 5, true}}));
}

TEST(ResponseReaderTest, AnInterimResponseIsNone) {
  EXPECT_EQ(ReadAll("HTTP/1.1 100 Continue\r\n\r\n" + kHello),
            (std::vector<Answer>{{200, 5, true}}));
}

TEST(ResponseReaderTest, WhetherTheConnectionIsKept) {
  EXPECT_EQ(ReadAll("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"),
            (std::vector<Answer>{{200, 1, false}}));
  EXPECT_EQ(ReadAll("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx"),
            (std::vector<Answer>{{200, 1, false}}));
  EXPECT_EQ(ReadAll("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx"),
            (std::vector<Answer>{{200, 1, true}}));
}

TEST(ResponseReaderTest, ABodyThatEndsWithTheConnection) {
  LastHead last;
  Reading r("HTTP/1.1 200 OK\r\n\r\nto the end", 4, &last);
  EXPECT_TRUE(r.answers.empty());
  EXPECT_EQ(r.left, 10u);
  EXPECT_EQ(r.reader.End(), State::kDone);
  EXPECT_FALSE(r.reader.head().keep_alive);
}

TEST(ResponseReaderTest, TheEndTellsWhatWasCut) {
  LastHead last;
  EXPECT_EQ(Reading(kHello, 100, &last).reader.End(), State::kMore);
  for (size_t cut = 1; cut < kHello.size(); ++cut)
    EXPECT_EQ(Reading(kHello.substr(0, cut), 100, &last).reader.End(), State::kBad) << cut;
}

TEST(ResponseReaderTest, AKnownHeadMustBeTheSameToTheLastByte) {
  LastHead last;
  EXPECT_EQ(Reading(kHello, 100, &last).answers.size(), 1u);
  const std::string other = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 6\r\n\r\nhello!";
  EXPECT_EQ(Reading(other + kHello, 200, &last).answers,
            (std::vector<Answer>{{200, 6, true}, {200, 5, true}}));
}

TEST(ResponseReaderTest, WhatIsNoHttpIsRefused) {
  const std::string endless = "HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x');
  const std::string bad_chunk =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n";
  for (const std::string& stream : {std::string("SSH-2.0-OpenSSH_9\r\n"),
                                    std::string("HTTP/1.1 abc\r\n\r\n"), endless, bad_chunk}) {
    LastHead last;
    EXPECT_TRUE(Reading(stream, 1000, &last).bad) << stream.substr(0, 40);
  }
}

}  // namespace
}  // namespace usher::load

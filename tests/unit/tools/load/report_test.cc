#include "tools/load/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace usher::load {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

class ReportTest : public testing::Test {
 protected:
  ReportTest() {
    options_.to = *IpAddress::Parse("198.18.0.2");
    options_.port = 80;
    for (Result& r : cores_) {
      r.cpu.wall = Duration::Seconds(2);
      r.cpu.busy = Duration::Millis(500);
      r.cpu.user = Duration::Millis(900);
      r.cpu.system = Duration::Millis(100);
    }
    cores_[0].answers = 1000;
    cores_[1].answers = 3000;
    cores_[0].all_answers = cores_[1].all_answers = 5000;
    cores_[0].body_bytes = 250'000;
    cores_[1].connections = 64;
    for (int i = 1; i <= 100; ++i) cores_[i % 2].latency.Record(Duration::Micros(i));
  }
  Json AsJson() { return Json::parse(JsonReport(options_, cores_, false)); }

  LoadOptions options_;
  Result cores_[2];
};

TEST_F(ReportTest, CoresAreAddedUp) {
  const Json j = AsJson();
  EXPECT_EQ(j["mode"], "rps");
  EXPECT_EQ(j["to"], "198.18.0.2:80");
  EXPECT_EQ(j["answers"], 4000);
  EXPECT_EQ(j["answers_per_second"], 2000.0);
  EXPECT_EQ(j["bits_per_second"], 1e6);
  EXPECT_EQ(j["all"]["answers"], 10'000);
  EXPECT_EQ(j["all"]["connections_opened"], 64);
  EXPECT_EQ(j["latency_us"]["count"], 100);
  EXPECT_NEAR(j["latency_us"]["p50"].get<double>(), 50, 0.5);
  EXPECT_EQ(j["latency_us"]["p99.99"], 100.0);
  EXPECT_EQ(j["failures"], 0);
  ASSERT_EQ(j["cores"].size(), 2u);
  EXPECT_EQ(j["cores"][1]["busy"], 0.25);
  EXPECT_EQ(j["cores"][1]["cpu"], 0.5);
}

TEST_F(ReportTest, WhoWasTheBottleneck) {
  EXPECT_EQ(AsJson()["bottleneck"], "server or link");
  cores_[1].cpu.busy = Duration::Millis(1960);
  EXPECT_EQ(AsJson()["bottleneck"], "generator");
  options_.rate = 2000;
  EXPECT_THAT(AsJson()["bottleneck"].get<std::string>(), HasSubstr("rate asked for was kept"));
  options_.rate = 4000;
  EXPECT_EQ(AsJson()["bottleneck"], "generator");
}

TEST_F(ReportTest, ErrorsAreToldByName) {
  cores_[0].errors[static_cast<size_t>(Error::kTimedOut)] = 2;
  cores_[1].errors[static_cast<size_t>(Error::kTimedOut)] = 1;
  cores_[1].cut_short = 4;
  EXPECT_EQ(AsJson()["errors"][ToString(Error::kTimedOut)], 3);
  EXPECT_EQ(AsJson()["failures"], 7);
  const std::string text = TextReport(options_, cores_, true);
  EXPECT_THAT(text, HasSubstr("4 cut short, 3 " + std::string(ToString(Error::kTimedOut))));
  EXPECT_THAT(text, HasSubstr("(interrupted)"));
  EXPECT_THAT(text, HasSubstr("answers      4000, 2000/s"));
}

TEST_F(ReportTest, Floods) {
  options_.mode = Mode::kSynFlood;
  cores_[0].frames = 4'000'000;
  cores_[1].syn_acks = 17;
  EXPECT_EQ(AsJson()["frames_per_second"], 2e6);
  EXPECT_EQ(AsJson()["syn_acks"], 17);
  EXPECT_THAT(TextReport(options_, cores_, false), HasSubstr("2000/s; in all 17 SYN-ACK, 0 RST"));
}

TEST_F(ReportTest, ARunWithoutAnAnswerHasFailed) {
  EXPECT_EQ(Failure(options_, cores_), "");
  Result nothing[1];
  nothing[0].errors[static_cast<size_t>(Error::kConnectionRefused)] = 5;
  EXPECT_THAT(Failure(options_, nothing), HasSubstr("nothing came from 198.18.0.2:80"));
  EXPECT_THAT(JsonReport(options_, nothing, false), HasSubstr("\"answers_per_second\": 0"));
  options_.mode = Mode::kAckFlood;
  EXPECT_EQ(Failure(options_, nothing), "");
  nothing[0].unreachable = true;
  EXPECT_THAT(Failure(options_, nothing), HasSubstr("nobody on the link"));
}

}  // namespace
}  // namespace usher::load

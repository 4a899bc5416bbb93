#include "tools/ctl/capture.h"

#include <gtest/gtest.h>

namespace usher::ctl {
namespace {

TEST(CaptureOptionsTest, TakesWhatIsRight) {
  const auto plain = ParseCaptureOptions({"out.pcapng"});
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->file, "out.pcapng");
  EXPECT_EQ(plain->packets, 0u);
  EXPECT_EQ(plain->snaplen, 0u);
  const auto all = ParseCaptureOptions({"-c", "100", "-", "-s", "96"});
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->file, "-");
  EXPECT_EQ(all->packets, 100u);
  EXPECT_EQ(all->snaplen, 96u);
}

TEST(CaptureOptionsTest, RefusesWhatIsWrong) {
  const std::vector<std::vector<std::string>> wrong = {
      {},          {"a", "b"},  {"-c", "0", "a"},  {"-c", "x", "a"},
      {"a", "-c"}, {"-w", "a"}, {"-s", "-1", "a"}, {"-c", "1x", "a"}};
  for (const auto& arguments : wrong) {
    const absl::Status status = ParseCaptureOptions(arguments).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(std::string(status.message()).rfind("capture: ", 0), 0u) << status;
  }
}

}  // namespace
}  // namespace usher::ctl

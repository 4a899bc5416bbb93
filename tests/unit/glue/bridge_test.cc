// Over capture files: what the one device reads, the other writes. Own program: EAL starts once in
// a process, so each bridge has a child of its own.
#include "stack/glue/bridge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/in_child.h"

namespace usher {
namespace {

using test::InChild;
using ::testing::HasSubstr;

void Put32(std::string& out, uint32_t v) { out.append(reinterpret_cast<const char*>(&v), 4); }
void Put16(std::string& out, uint16_t v) { out.append(reinterpret_cast<const char*>(&v), 2); }

// A capture of `frames`, in the file format of libpcap.
void WriteCapture(const std::string& path, const std::vector<std::string>& frames) {
  std::string out;
  Put32(out, 0xa1b2c3d4);
  Put16(out, 2);
  Put16(out, 4);
  Put32(out, 0);
  Put32(out, 0);
  Put32(out, 65535);
  Put32(out, 1);  // Ethernet
  for (const std::string& f : frames) {
    Put32(out, 0);
    Put32(out, 0);
    Put32(out, static_cast<uint32_t>(f.size()));
    Put32(out, static_cast<uint32_t>(f.size()));
    out += f;
  }
  std::ofstream(path, std::ios::binary) << out;
}
std::vector<std::string> ReadCapture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string in((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<std::string> frames;
  for (size_t at = 24; at + 16 <= in.size();) {
    uint32_t size;
    std::memcpy(&size, &in[at + 8], 4);
    frames.push_back(in.substr(at + 16, size));
    at += 16 + size;
  }
  return frames;
}

class BridgeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/usher-bridge-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    for (const char* file : {"a.in", "a.out", "b.in", "b.out"}) unlink(Path(file).c_str());
    EXPECT_EQ(rmdir(directory_.c_str()), 0);
  }
  std::string Path(const char* file) const { return directory_ + "/" + file; }
  std::vector<std::string> Args(std::vector<std::string> devices) const {
    std::vector<std::string> args = {"--no-huge", "--no-shconf", "-m", "64"};
    for (const std::string& d : devices) args.push_back("--vdev=" + d);
    return args;
  }
  std::string Capture(const char* name, const char* prefix) const {
    return absl::StrCat(name, ",rx_pcap=", directory_, "/", prefix, ".in,tx_pcap=", directory_, "/",
                        prefix, ".out");
  }
  static std::string FrameOf(size_t size, char fill) {
    std::string frame = "\x02\x02\x02\x02\x02\x02\x02\x01\x01\x01\x01\x01";
    frame += std::string("\x08\x00", 2);
    frame.resize(size, fill);
    return frame;
  }

  std::string directory_;
};

TEST_F(BridgeTest, FramesGoBothWaysWholeAndInOrder) {
  std::vector<std::string> there, back;
  for (int i = 0; i < 100; ++i)
    there.push_back(FrameOf(60 + static_cast<size_t>(i) * 14, static_cast<char>('a' + i % 26)));
  for (int i = 0; i < 33; ++i) back.push_back(FrameOf(1514, static_cast<char>('A' + i % 26)));
  WriteCapture(Path("a.in"), there);
  WriteCapture(Path("b.in"), back);
  EXPECT_EQ(
      InChild([&] {
        auto bridge = Bridge::Create(Args({Capture("net_pcap0", "a"), Capture("net_pcap1", "b")}));
        if (!bridge.ok()) return std::string(bridge.status().message());
        std::atomic<bool> stop = false;
        // Until the capture is read; what is to come out is complete then.
        std::thread watch([&] {
          while ((*bridge)->forwarded() + (*bridge)->lost() < 133) std::this_thread::yield();
          stop = true;
        });
        (*bridge)->Run(stop);
        watch.join();
        return absl::StrCat((*bridge)->forwarded(), " ", (*bridge)->lost());
      }),
      "133 0");
  EXPECT_EQ(ReadCapture(Path("b.out")), there);
  EXPECT_EQ(ReadCapture(Path("a.out")), back);
}

TEST_F(BridgeTest, StoppedBeforeItRunsItForwardsNothing) {
  EXPECT_EQ(InChild([&] {
              auto bridge = Bridge::Create(Args({"net_null0", "net_null1"}));
              if (!bridge.ok()) return std::string(bridge.status().message());
              const std::atomic<bool> stop = true;
              (*bridge)->Run(stop);
              return absl::StrCat((*bridge)->forwarded(), " ", (*bridge)->lost());
            }),
            "0 0");
}

TEST_F(BridgeTest, OneDeviceOrThreeAreRefused) {
  for (const std::vector<std::string>& devices :
       {std::vector<std::string>{"net_null0"},
        std::vector<std::string>{"net_null0", "net_null1", "net_null2"}}) {
    EXPECT_EQ(InChild([&] {
                const auto bridge = Bridge::Create(Args(devices));
                return std::string(bridge.status().message());
              }),
              absl::StrCat("a bridge joins two devices (--vdev), here are ", devices.size()));
  }
}

TEST_F(BridgeTest, WhatEalRefusesIsTold) {
  EXPECT_THAT(InChild([&] {
                const auto bridge = Bridge::Create(Args({"net_nonsense0"}));
                return std::string(bridge.status().message());
              }),
              HasSubstr("net_nonsense0"));
}

}  // namespace
}  // namespace usher

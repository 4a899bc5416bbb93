// The settings: each that usher has and a network namespace has too, with values around every
// border that either could draw. After a write that was taken both must read the same.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "tests/differential/errno_table.h"

namespace usher::differential {
namespace {

// For numbers: the borders of bytes, of words, of what the entries of both tables name, and texts
// that are none.
constexpr const char* kNumbers[] = {"0",          "1",          "2",           "3",
                                    "4",          "5",          "-1",          "-2",
                                    "31",         "32",         "-31",         "-32",
                                    "47",         "48",         "127",         "128",
                                    "255",        "256",        "300",         "301",
                                    "999",        "1000",       "1001",        "1023",
                                    "1024",       "65535",      "65536",       "119999",
                                    "120000",     "120001",     "2147483",     "-2147483",
                                    "2147483647", "2147483648", "-2147483648", "-2147483649",
                                    "4294967295", "4294967296", "99999999999", "many",
                                    "",           " ",          "\n",          " 5 \n",
                                    "010",        "0x10",       "0x",          "1x",
                                    "+1",         "--1",        "1 2",         "1 x",
                                    "1,2"};
// For lists of two or three: too few, too many, reversed, one of them bad.
constexpr const char* kLists[] = {
    "1024 2000",  "2000 1024",   "2000 2000",      "1023 2000",     "1024 65535", "1024 65536",
    "1024\t2000", "0 0",         "-1 -1",          "1024 -1",       "1024 many",  "70000",
    "2000",       "61000",       "1024 2000 x",    "1 2 3",         "3 2 1",      "1 2 3 4",
    "4096 8192",  "0 2 3",       "1 0 3",          "1 2 0",         "1 2 -1",     "1 2 x",
    "1 2 3 x",    "4096 x 8192", "1 2 2147483647", "1 2 2147483648"};
constexpr const char* kKeys[] = {
    "1-2-3",           "1-2-3-4",       "00000001-000000ab-00000000-ffffffff",
    "1-2-3-4,5-6-7-8", "1-2-3-4,5-6-7", "1-2-3-4,",
    ",1-2-3-4",        "1-2-3-4 \n",    "1-2-3-g",
    "1 2 3 4",         "1-2-3-4-5",     "1-2-3-4 5",
    "123456789-2-3-4", "0x1-2-3-4"};
constexpr char kCongestion[] = "net.ipv4.tcp_congestion_control";

std::string PathOf(const std::string& name) {
  return absl::StrCat("/proc/sys/", absl::StrReplaceAll(name, {{".", "/"}}));
}

// The stack whose settings are changed, as the control socket does it.
class Usher {
 public:
  Usher() : pool_(64), port_(pool_, MacAddress{{2, 0, 0, 0, 0, 1}}), random_(1) {
    StackOptions options;
    options.max_connections = 16;
    InterfaceConfig config;
    config.addresses = {*InterfaceAddress::Parse("198.18.0.2/15")};
    const std::vector<ShardInterface> interfaces[] = {{ShardInterface{&port_, config}}};
    stack_ = *Stack::Create(options, interfaces, random_);
  }
  int Write(const std::string& name, const std::string& value) {
    Sysctls sysctls = stack_->shard(0).sysctls();
    const absl::Status status = SetSysctl(sysctls, name, value);
    if (status.ok()) stack_->shard(0).ApplySysctls(sysctls);
    return status.ok() ? 0 : absl::IsNotFound(status) ? ENOENT : EINVAL;
  }
  std::string Read(const std::string& name) {
    return GetSysctl(stack_->shard(0).sysctls(), name).value_or("?");
  }

 private:
  HeapPool pool_;
  MemoryPort port_;
  SeededRandom random_;
  std::unique_ptr<Stack> stack_;
};

// The kernel keeps some times in its ticks, rounded up; usher as they are given.
class Ticks {
 public:
  Ticks() {
    const std::string before = ReadSysctl(kName);
    WriteSysctl(kName, "1");
    tick_ms_ = std::max(std::atoll(ReadSysctl(kName).c_str()), 1LL);
    WriteSysctl(kName, before);
  }
  std::string RoundUp(const std::string& name, const std::string& value) const {
    if (name != kName && name != "net.ipv4.icmp_ratelimit") return value;
    return absl::StrCat((std::atoll(value.c_str()) + tick_ms_ - 1) / tick_ms_ * tick_ms_);
  }

 private:
  static constexpr char kName[] = "net.ipv4.tcp_invalid_ratelimit";
  int64_t tick_ms_;
};

std::vector<std::string> ValuesFor(const std::string& name, const std::string& now) {
  std::vector<std::string> values(std::begin(kNumbers), std::end(kNumbers));
  if (now.find('\t') != std::string::npos)
    values.insert(values.end(), std::begin(kLists), std::end(kLists));
  if (now.find('-') != std::string::npos)
    values.insert(values.end(), std::begin(kKeys), std::end(kKeys));
  if (name == kCongestion) {  // only those that a namespace may have
    std::istringstream available(ReadSysctl("net.ipv4.tcp_allowed_congestion_control"));
    for (std::string one; available >> one;)
      for (const char* around : {"", " ", "\n", "x"}) values.push_back(absl::StrCat(one, around));
    values.emplace_back(" reno");
    values.emplace_back("Reno");
  }
  return values;
}

std::string Escaped(const std::string& value) {
  return absl::StrReplaceAll(value, {{"\n", "\\n"}, {"\t", "\\t"}});
}

}  // namespace

int WriteSysctl(const std::string& name, const std::string& value) {
  const int fd = open(PathOf(name).c_str(), O_WRONLY);
  if (fd < 0) return ErrnoOf(fd);
  const int error = ErrnoOf(write(fd, value.data(), value.size()));
  close(fd);
  return error;
}

std::string ReadSysctl(const std::string& name) {
  std::ifstream file(PathOf(name));
  std::string line;
  std::getline(file, line);
  return line;
}

void SysctlRows(Table& table) {
  Usher usher;
  const Ticks ticks;
  std::string of_the_machine;
  for (const std::string& name : SysctlNames()) {
    if (access(PathOf(name).c_str(), W_OK) != 0) {
      absl::StrAppend(&of_the_machine, " ", name);
      continue;
    }
    const std::string kernel_before = ReadSysctl(name);
    const std::string usher_before = usher.Read(name);
    // Both begin with the same, for values that set only a part.
    if (name != kCongestion) usher.Write(name, kernel_before);
    for (const std::string& value : ValuesFor(name, kernel_before)) {
      const std::string usher_start = usher.Read(name);
      const int kernel = WriteSysctl(name, value);
      const int ours = usher.Write(name, value);
      const bool both = kernel == 0 && ours == 0 && (name != kCongestion || !value.empty());
      table.Row(absl::StrCat(name, " = \"", Escaped(value), "\""), kernel, ours,
                both ? ReadSysctl(name) : "", both ? ticks.RoundUp(name, usher.Read(name)) : "");
      WriteSysctl(name, kernel_before);
      usher.Write(name, usher_start);
    }
    usher.Write(name, usher_before);
  }
  table.Row("net.ipv4.tcp_no_such = \"1\"", WriteSysctl("net.ipv4.tcp_no_such", "1"),
            usher.Write("net.ipv4.tcp_no_such", "1"));
  Table::Note("not of a network namespace, so not compared:" + of_the_machine);
}

}  // namespace usher::differential

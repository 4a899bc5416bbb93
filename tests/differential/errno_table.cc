#include "tests/differential/errno_table.h"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "tests/differential/known.h"

namespace usher::differential {
namespace {

constexpr int kSkipped = 77;

std::string Outcome(int error, const std::string& value) {
  return absl::StrCat(error == 0 ? "0" : strerrorname_np(error), value.empty() ? "" : " ", value);
}

bool LoopbackUp() {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  ifreq r = {};
  std::strcpy(r.ifr_name, "lo");
  r.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
  const bool ok = ioctl(fd, SIOCSIFFLAGS, &r) == 0;
  close(fd);
  return ok;
}

int Main() {
  if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0 || !LoopbackUp()) {
    std::puts("skipped: a network namespace needs root");
    return kSkipped;
  }
  Table table;
  ListenRows(table);
  table.Group("listen(), accept(), options of a listener");
  SocketRows(table);
  table.Group("calls and options of sockets");
  SysctlRows(table);
  table.Group("settings");
  return table.Finish();
}

}  // namespace

int ErrnoOf(long result) { return result < 0 ? errno : 0; }

void Table::Row(const std::string& call, int kernel, int usher, const std::string& kernel_value,
                const std::string& usher_value) {
  const bool same = kernel == usher && kernel_value == usher_value;
  const bool known = !same && IsKnown(absl::StrCat("errno of ", call));
  ++(same ? same_ : known ? known_ : different_);
  if (same) return;
  std::printf("%-9s %-62s kernel %s, usher %s\n", known ? "known" : "DIFFERENT", call.c_str(),
              Outcome(kernel, kernel_value).c_str(), Outcome(usher, usher_value).c_str());
}

void Table::Group(const std::string& text) {
  const int all = same_ + known_ + different_;
  std::printf("%s: %d calls\n", text.c_str(), all - grouped_);
  grouped_ = all;
}

void Table::Note(const std::string& text) { std::puts(text.c_str()); }

int Table::Finish() const {
  std::printf("%d calls: %d the same, %d known to differ, %d different\n",
              same_ + known_ + different_, same_, known_, different_);
  return different_ == 0 && same_ != 0 ? 0 : 1;
}

}  // namespace usher::differential

int main() { return usher::differential::Main(); }

#include "tests/differential/farm.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/differential/coverage.h"
#include "tests/differential/play.h"
#include "tests/differential/subject.h"

namespace usher::differential {
namespace {

uint64_t late_runs = 0;
constexpr uint32_t kMostRepeats = 20;
// A difference that none of so many further runs of the schedule shows is the machine's.
constexpr uint32_t kRepetitions = 3;

// While it plays to the kernel a process goes before others: it mostly sleeps, and must wake in
// time.
void Hasten(bool on, uint64_t seed) {
  sched_param param = {};
  param.sched_priority = on ? 1 : 0;
  sched_setscheduler(0, on ? SCHED_RR : SCHED_OTHER, &param);
  if (!on) return;
  // Timers stay on the processor that armed them; on one, those of one instant keep an order.
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(seed % static_cast<uint64_t>(std::max(1l, sysconf(_SC_NPROCESSORS_ONLN))), &set);
  sched_setaffinity(0, sizeof set, &set);
}

std::string Run(const Schedule& schedule) {
  Beginning beginning;
  const auto kernel = MakeKernel(schedule, &beginning);
  bool in_time = true;
  Hasten(true, schedule.seed);
  const Trace expected = Play(schedule, *kernel, &in_time);
  Hasten(false, schedule.seed);
  if (!in_time) return "L";
  bool always = true;
  const auto usher = MakeUsher(schedule, beginning);
  const Trace got = Play(schedule, *usher, &always);
  std::string text;
  const auto difference = Compare(expected, got);
  if (difference)
    text = absl::StrCat("D", difference->step, "\n", difference->text);
  else
    text = "S\n";
  text += '\0';
  for (const auto& [row, hits] : RowsHit(schedule, got))
    absl::StrAppend(&text, row, "\t", hits, "\n");
  return text;
}

// What is to be played, and what is known of it.
struct Task {
  uint64_t seed = 0;
  uint32_t late = 0;             // runs that were too late
  uint32_t same_again = 0;       // runs without difference after one with
  std::optional<Verdict> first;  // the run that differed
};

struct Child {
  pid_t pid = -1;
  int fd = -1;
  std::string text;
  Task task;
};

Child Start(const Schedule& schedule) {
  Child child;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return child;
  std::fflush(nullptr);
  child.pid = fork();
  if (child.pid == 0) {
    close(ends[0]);
    const std::string text = Run(schedule);
    for (size_t done = 0; done < text.size();) {
      const ssize_t n = write(ends[1], text.data() + done, text.size() - done);
      if (n <= 0) break;
      done += static_cast<size_t>(n);
    }
    std::_Exit(0);
  }
  close(ends[1]);
  child.fd = ends[0];
  return child;
}

// Reads what is there; false at the end.
bool Feed(Child& child) {
  char buffer[65536];
  const ssize_t n = read(child.fd, buffer, sizeof buffer);
  if (n > 0) child.text.append(buffer, static_cast<size_t>(n));
  return n > 0 || (n < 0 && errno == EINTR);
}

Verdict Finish(Child& child) {
  close(child.fd);
  int status = 0;
  waitpid(child.pid, &status, 0);
  Verdict v;
  if (status != 0 || child.text.empty()) {
    v.text = absl::StrCat("the process ended with status ", status);
    return v;
  }
  if (child.text[0] == 'L') {
    v.outcome = Outcome::kLate;
    ++late_runs;
    return v;
  }
  const size_t zero = child.text.find('\0');
  const std::string head = child.text.substr(0, zero);
  v.outcome = head[0] == 'D' ? Outcome::kDiffers : Outcome::kSame;
  if (head[0] == 'D') {
    const size_t newline = head.find('\n');
    v.step = std::strtoul(head.c_str() + 1, nullptr, 10);
    v.text = head.substr(newline + 1);
  }
  const std::vector<std::string> lines =
      absl::StrSplit(child.text.substr(zero + 1), '\n', absl::SkipEmpty());
  for (const std::string& line : lines) {
    const std::vector<std::string> f = absl::StrSplit(line, '\t');
    v.rows[f[0]] = std::strtoull(f[1].c_str(), nullptr, 10);
  }
  return v;
}

}  // namespace

void PrintBoth(const Schedule& schedule) {
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    Beginning beginning;
    bool in_time = true;
    const auto kernel = MakeKernel(schedule, &beginning);
    Hasten(true, schedule.seed);
    const Trace expected = Play(schedule, *kernel, &in_time);
    Hasten(false, schedule.seed);
    const Trace got = Play(schedule, *MakeUsher(schedule, beginning), &in_time);
    for (size_t i = 0; i < schedule.steps.size(); ++i)
      std::printf("%zu: %s\n    kernel\n%s    usher\n%s", i, ToString(schedule.steps[i]).c_str(),
                  ToString(expected[i]).c_str(), ToString(got[i]).c_str());
    std::fflush(stdout);
    std::_Exit(0);
  }
  waitpid(pid, nullptr, 0);
}

uint64_t LateRuns() { return late_runs; }

void EnterLab() {
  if (unshare(CLONE_NEWNET) != 0) return;
  // Small tables of their own: quick to make, to list and to destroy.
  if (const int fd = open("/proc/sys/net/ipv4/tcp_child_ehash_entries", O_WRONLY); fd >= 0) {
    if (write(fd, "512", 3) != 3) std::perror("tcp_child_ehash_entries");
    close(fd);
  }
}

Verdict Judge(const Schedule& schedule) {
  Verdict v;
  for (uint32_t i = 0; i < kMostRepeats; ++i) {
    Child child = Start(schedule);
    while (Feed(child)) continue;
    v = Finish(child);
    if (v.outcome != Outcome::kLate) break;
  }
  return v;
}

namespace {

// Takes a run's verdict. True: the schedule has to be played again.
bool PlayAgain(Task* task, Verdict* v) {
  if (v->outcome == Outcome::kLate) return ++task->late <= kMostRepeats;
  if (v->outcome == Outcome::kDiffers && !task->first) {
    task->first = *v;
    return true;
  }
  if (v->outcome != Outcome::kSame || !task->first) return false;
  if (++task->same_again < kRepetitions) return true;
  v->outcome = Outcome::kOnce;
  v->step = task->first->step;
  v->text = task->first->text;
  return false;
}

}  // namespace

void JudgeMany(const std::vector<uint64_t>& seeds, uint32_t jobs,
               const std::function<bool(const Schedule&, const Verdict&)>& done) {
  std::deque<Task> waiting;
  for (const uint64_t seed : seeds) waiting.push_back({.seed = seed});
  std::stable_partition(waiting.begin(), waiting.end(),
                        [](const Task& t) { return Schedule{.seed = t.seed}.is_long(); });
  std::vector<Child> running;
  bool more = true;
  while (!running.empty() || (more && !waiting.empty())) {
    while (more && running.size() < jobs && !waiting.empty()) {
      running.push_back(Start(Generate(waiting.front().seed)));
      running.back().task = std::move(waiting.front());
      waiting.pop_front();
    }
    std::vector<pollfd> fds;
    fds.reserve(running.size());
    for (const Child& c : running) fds.push_back({c.fd, POLLIN, 0});
    poll(fds.data(), fds.size(), -1);
    for (size_t i = running.size(); i-- > 0;) {
      if (fds[i].revents == 0 || Feed(running[i])) continue;
      Child child = std::move(running[i]);
      running.erase(running.begin() + static_cast<ptrdiff_t>(i));
      Verdict v = Finish(child);
      if (PlayAgain(&child.task, &v))
        waiting.push_back(std::move(child.task));
      else if (!done(Generate(child.task.seed), v))
        more = false;
    }
  }
}

std::vector<size_t> Minimise(const Schedule& schedule, const Verdict& verdict) {
  std::vector<size_t> kept;
  for (size_t i = 0; i <= verdict.step && i < schedule.steps.size(); ++i) kept.push_back(i);
  // Chunks of half, a quarter, ... of the steps, down to single ones, from the back.
  for (size_t chunk = std::max<size_t>(kept.size() / 2, 1);; chunk = chunk / 2) {
    for (size_t end = kept.size(); end > 0;) {
      const size_t begin = end > chunk ? end - chunk : 0;
      std::vector<size_t> fewer(kept.begin(), kept.begin() + static_cast<ptrdiff_t>(begin));
      fewer.insert(fewer.end(), kept.begin() + static_cast<ptrdiff_t>(end), kept.end());
      const bool differs =
          !fewer.empty() && Judge(Keep(schedule, fewer)).outcome == Outcome::kDiffers;
      if (differs) kept = std::move(fewer);
      end = begin;
    }
    if (chunk <= 1) break;
  }
  return kept;
}

}  // namespace usher::differential

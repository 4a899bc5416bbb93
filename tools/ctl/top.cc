#include "tools/ctl/top.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "tools/ctl/commands.h"

namespace usher::ctl {
namespace {

using Json = nlohmann::json;

constexpr size_t kBarWidth = 12;

double SteadySeconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

uint64_t Get(const std::map<std::string, uint64_t>& values, const std::string& name) {
  const auto found = values.find(name);
  return found != values.end() ? found->second : 0;
}

std::map<std::string, uint64_t> Numbers(const Json& object) {
  std::map<std::string, uint64_t> values;
  for (const auto& [name, value] : object.items())
    if (value.is_number_integer()) values[name] = value.get<uint64_t>();
  return values;
}

// Growth per second of something between two samples, for one shard or for all.
class Rates {
 public:
  Rates(const TopSample& now, const TopSample& before) : now_(now), before_(before) {
    seconds_ = now.time_s - before.time_s;
  }

  template <class Of>
  double Shard(size_t i, Of&& of) const {
    if (seconds_ <= 0 || i >= before_.shards.size()) return 0;
    const uint64_t now = of(now_.shards[i]);
    const uint64_t before = of(before_.shards[i]);
    return now > before ? static_cast<double>(now - before) / seconds_ : 0;
  }
  template <class Of>
  double All(Of&& of) const {
    double sum = 0;
    for (size_t i = 0; i < now_.shards.size(); ++i) sum += Shard(i, of);
    return sum;
  }

 private:
  const TopSample& now_;
  const TopSample& before_;
  double seconds_;
};

auto CounterOf(std::string name) {
  return [name = std::move(name)](const TopSample::Shard& s) { return Get(s.counters, name); };
}
auto DropsOf(std::string reason) {
  return [reason = std::move(reason)](const TopSample::Shard& s) { return Get(s.drops, reason); };
}
uint64_t AllDrops(const TopSample::Shard& s) {
  uint64_t sum = 0;
  for (const auto& [reason, count] : s.drops) sum += count;
  return sum;
}
uint64_t Syns(const TopSample::Shard& s) { return s.syns; }
uint64_t Accepted(const TopSample::Shard& s) { return s.accepted; }

std::string Uptime(uint64_t ms) {
  const uint64_t s = ms / 1000;
  return absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
}

std::string Cut(std::string text, size_t width) {
  if (text.size() > width) text.resize(width);
  return text;
}

std::string Colored(const std::string& bar, uint64_t value, uint64_t limit, bool color) {
  if (!color) return bar;
  const char* paint = value >= limit && value > 0 ? "31" : value * 10 >= limit * 7 ? "33" : "32";
  return absl::StrCat("\033[", paint, "m", bar, "\033[0m");
}

void AddSummary(const TopSample& now, const Rates& rates, std::vector<std::string>* lines) {
  uint64_t connections = 0, half_open = 0, time_wait = 0;
  for (const TopSample::Shard& s : now.shards) {
    connections += Get(s.load, "connections");
    half_open += Get(s.load, "requests");
    time_wait += Get(s.load, "time_wait");
  }
  lines->push_back(absl::StrFormat("up %s  connections %d  half-open %d  time-wait %d  pid %d, %s",
                                   Uptime(now.uptime_ms), connections, half_open, time_wait,
                                   now.pid, now.instance));
  lines->push_back(absl::StrFormat(
      "per second: SYNs %s  accepts %s  cookies %s  drops %s  retrans %s",
      ShortNumber(rates.All(Syns)), ShortNumber(rates.All(Accepted)),
      ShortNumber(rates.All(CounterOf("TcpExtSyncookiesSent"))), ShortNumber(rates.All(AllDrops)),
      ShortNumber(rates.All(CounterOf("TcpRetransSegs")))));
}

void AddListeners(const TopSample& now, bool color, std::vector<std::string>* lines) {
  lines->push_back(
      absl::StrFormat("%-18s %-24s %-24s %s", "Listener", "Half-open", "Accept queue", "Held by"));
  for (const TopSample::Listener& l : now.listeners) {
    const std::string syn = absl::StrCat(l.half_open, "/", l.half_open_capacity);
    const std::string queue = absl::StrCat(l.queue, "/", l.queue_limit);
    lines->push_back(absl::StrFormat(
        "%-18s %s %-11s %s %-11s %s", Cut(l.name, 18),
        Colored(Bar(l.half_open, l.half_open_capacity, kBarWidth), l.half_open,
                l.half_open_capacity, color),
        syn, Colored(Bar(l.queue, l.queue_limit, kBarWidth), l.queue, l.queue_limit, color), queue,
        absl::StrReplaceAll(l.held_back_by, {{"tcp_max_syn_backlog", "syn_backlog"}})));
  }
}

void AddShards(const TopSample& now, const Rates& rates, std::vector<std::string>* lines) {
  lines->push_back(absl::StrFormat("%5s %8s %9s %9s %8s %9s %8s %7s %7s", "Shard", "Conns",
                                   "Half-open", "Accept-q", "SYNs/s", "Cookies/s", "Drops/s",
                                   "Rx/s", "Tx/s"));
  for (size_t i = 0; i < now.shards.size(); ++i) {
    const TopSample::Shard& s = now.shards[i];
    lines->push_back(absl::StrFormat("%5d %8d %9d %9d %8s %9s %8s %7s %7s", i,
                                     Get(s.load, "connections"), s.half_open, s.queued,
                                     ShortNumber(rates.Shard(i, Syns)),
                                     ShortNumber(rates.Shard(i, CounterOf("TcpExtSyncookiesSent"))),
                                     ShortNumber(rates.Shard(i, AllDrops)),
                                     ShortNumber(rates.Shard(i, CounterOf("UsherRxPackets"))),
                                     ShortNumber(rates.Shard(i, CounterOf("UsherTxPackets")))));
  }
}

// The reasons that have any count, the busiest first.
void AddDrops(const TopSample& now, const Rates& rates, std::vector<std::string>* lines) {
  std::map<std::string, uint64_t> totals;
  for (const TopSample::Shard& s : now.shards)
    for (const auto& [reason, count] : s.drops) totals[reason] += count;
  std::vector<std::pair<double, std::string>> order;
  order.reserve(totals.size());
  for (const auto& [reason, count] : totals)
    order.emplace_back(-rates.All(DropsOf(reason)), reason);
  std::sort(order.begin(), order.end());
  if (order.empty()) return;
  lines->push_back("");
  lines->push_back(absl::StrFormat("%-24s %10s %8s  %s", "Not served, because", "total", "/s",
                                   now.shards.size() > 1 ? "by shard /s" : ""));
  for (const auto& [rate, reason] : order) {
    std::string line =
        absl::StrFormat("%-24s %10d %8s", reason, totals[reason], ShortNumber(-rate));
    if (now.shards.size() > 1) {
      line += ' ';
      for (size_t i = 0; i < now.shards.size(); ++i)
        absl::StrAppend(&line, " ", ShortNumber(rates.Shard(i, DropsOf(reason))));
    }
    lines->push_back(line);
  }
}

absl::StatusOr<TopSample> Ask(Client& client, Json* raw) {
  const auto status = client.Ask(Json{{"command", "status"}});
  if (!status.ok()) return status.status();
  const auto listeners = client.Ask(Json{{"command", "listeners"}});
  if (!listeners.ok()) return listeners.status();
  const auto per_shard = client.Ask(Json{{"command", "listeners"}, {"per_shard", true}});
  if (!per_shard.ok()) return per_shard.status();
  const auto counters = client.Ask(Json{{"command", "counters"}, {"per_shard", true}});
  if (!counters.ok()) return counters.status();
  if (status->size() != 1) return absl::InternalError("the server's answer is not understood");
  *raw = {{"status", status->front()},
          {"listeners", *listeners},
          {"per_shard", *per_shard},
          {"counters", *counters}};
  TopSample sample = ParseTopSample(status->front(), *listeners, *per_shard, *counters);
  sample.time_s = SteadySeconds();
  return sample;
}

volatile sig_atomic_t interrupted = 0;
void OnSignal(int) { interrupted = 1; }
void OnResize(int) {}  // only to end poll()

// The whole screen and single keys, as long as it lives.
class Screen {
 public:
  Screen() {
    struct sigaction action = {};
    action.sa_handler = OnSignal;
    for (const int s : {SIGINT, SIGTERM, SIGHUP}) sigaction(s, &action, nullptr);
    action.sa_handler = OnResize;
    sigaction(SIGWINCH, &action, nullptr);
    keys_ = tcgetattr(STDIN_FILENO, &before_) == 0;
    if (keys_) {
      termios raw = before_;
      raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    std::fputs("\033[?1049h\033[?25l", stdout);
  }
  ~Screen() {
    std::fputs("\033[?25h\033[?1049l", stdout);
    std::fflush(stdout);
    if (keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  static winsize Size() {
    winsize size = {};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) size = {24, 80, 0, 0};
    return size;
  }

  static void Draw(const std::vector<std::string>& lines, size_t height) {
    std::string out = "\033[H";
    for (size_t i = 0; i < lines.size() && i < height; ++i)
      absl::StrAppend(&out, i == 0 ? "" : "\r\n", lines[i], "\033[K");
    out += "\033[J";
    std::fwrite(out.data(), 1, out.size(), stdout);
    std::fflush(stdout);
  }

  // Waits; true: q was pressed, or a signal came.
  bool WaitForQuit(double seconds) const {
    const double end = SteadySeconds() + seconds;
    for (double left = seconds; left > 0 && !interrupted; left = end - SteadySeconds()) {
      pollfd wait = {keys_ ? STDIN_FILENO : -1, POLLIN, 0};
      if (poll(&wait, 1, static_cast<int>(std::ceil(left * 1000))) != 1) continue;
      char key = 0;
      if (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q') return true;
    }
    return interrupted != 0;
  }

 private:
  bool keys_ = false;
  termios before_ = {};
};

// True: the user wants to end.
bool Pause(const std::optional<Screen>& screen, double seconds) {
  if (screen) return screen->WaitForQuit(seconds);
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  return false;
}

}  // namespace

absl::StatusOr<TopOptions> ParseTopOptions(const std::vector<std::string>& arguments) {
  TopOptions options;
  for (size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& name = arguments[i];
    if (name != "-d" && name != "-n")
      return absl::InvalidArgumentError(absl::StrCat("top: unknown option '", name, "'"));
    const std::string value = i + 1 < arguments.size() ? arguments[i + 1] : "";
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    const double least = name == "-d" ? 0.1 : 1;
    if (value.empty() || *end != '\0' || !(number >= least && number <= 1e6))
      return absl::InvalidArgumentError(
          absl::StrCat("top: ", name, " wants a number from ", least, ", not '", value, "'"));
    if (name == "-d") {
      options.interval_s = number;
    } else {
      options.count = static_cast<int>(number);
    }
  }
  return options;
}

std::string ShortNumber(double value) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  // 999.5 and more would be printed with four digits.
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  const int places = value >= 99.95 || value == 0 ? 0 : value >= 9.995 || unit == 0 ? 1 : 2;
  return absl::StrFormat("%.*f%s", places, value, kUnits[unit]);
}

std::string Bar(uint64_t value, uint64_t limit, size_t width) {
  const size_t inner = width - 2;
  size_t filled = inner;
  if (value < limit) {
    filled = static_cast<size_t>(static_cast<double>(value) / static_cast<double>(limit) *
                                 static_cast<double>(inner));
    if (value > 0) filled = std::max<size_t>(filled, 1);
  } else if (value == 0) {
    filled = 0;  // of 0
  }
  return absl::StrCat("[", std::string(filled, '#'), std::string(inner - filled, '.'), "]");
}

TopSample ParseTopSample(const Json& status, const std::vector<Json>& listeners,
                         const std::vector<Json>& per_shard, const std::vector<Json>& counters) {
  TopSample sample;
  sample.instance = status.value("instance", "?");
  sample.pid = status.value("pid", int64_t{0});
  sample.uptime_ms = status.value("uptime_ms", uint64_t{0});
  sample.shards.resize(status.value("shards", size_t{0}));
  for (const Json& l : listeners) {
    sample.listeners.push_back({ListenerName(l), l.value("half_open", uint64_t{0}),
                                l.value("half_open_capacity", uint64_t{0}),
                                l.value("recv_q", uint64_t{0}), l.value("send_q", uint64_t{0}),
                                l.value("held_back_by", "?")});
  }
  for (const Json& row : per_shard) {
    const size_t i = row.value("shard", size_t{0});
    if (i >= sample.shards.size()) continue;
    TopSample::Shard& s = sample.shards[i];
    if (row.contains("load")) s.load = Numbers(row["load"]);
    for (const char* key : {"drops", "without_listener"}) {
      if (!row.contains(key)) continue;
      for (const auto& [reason, count] : Numbers(row[key])) s.drops[reason] += count;
    }
    s.half_open += row.value("half_open", uint64_t{0});
    s.queued += row.value("recv_q", uint64_t{0});
    if (row.contains("counters")) {
      const auto of_listener = Numbers(row["counters"]);
      s.syns += Get(of_listener, "syns");
      s.accepted += Get(of_listener, "accepted");
    }
  }
  for (const Json& row : counters) {
    const size_t i = row.value("shard", size_t{0});
    if (i >= sample.shards.size() || !row.contains("counters")) continue;
    for (const Json& c : row["counters"])
      sample.shards[i].counters[c[0].get<std::string>()] = c[1].get<uint64_t>();
  }
  return sample;
}

std::vector<std::string> TopFrame(const TopSample& now, const TopSample& before, size_t width,
                                  bool color) {
  const Rates rates(now, before);
  std::vector<std::string> lines;
  AddSummary(now, rates, &lines);
  lines.emplace_back();
  const size_t first_bar = lines.size() + 1;
  AddListeners(now, color, &lines);
  const size_t last_bar = lines.size();
  lines.emplace_back();
  AddShards(now, rates, &lines);
  AddDrops(now, rates, &lines);
  for (size_t i = 0; i < lines.size(); ++i) {
    // Lines with bars are below 80 columns; the colours in them take no room.
    if (!color || i < first_bar || i >= last_bar) lines[i] = Cut(std::move(lines[i]), width);
    lines[i].erase(lines[i].find_last_not_of(' ') + 1);
  }
  return lines;
}

absl::Status RunTop(Client& client, const TopOptions& options, bool json) {
  const bool live = !json && isatty(STDOUT_FILENO) != 0;
  std::optional<Screen> screen;
  Json raw;
  auto before = Ask(client, &raw);
  if (!before.ok()) return before.status();
  if (live) screen.emplace();
  // Live, the first picture comes at once and knows no rates; elsewhere it waits to have them.
  bool wait = !live;
  TopSample now = *before;
  for (int frames = 0;;) {
    if (wait) {
      if (Pause(screen, options.interval_s)) return absl::OkStatus();
      auto next = Ask(client, &raw);
      if (!next.ok()) return next.status();
      *before = std::exchange(now, *std::move(next));
    }
    wait = true;
    const winsize size = Screen::Size();
    if (json) {
      std::puts(raw.dump().c_str());
    } else {
      const auto lines = TopFrame(now, *before, live ? size.ws_col : 80, live);
      if (live) {
        Screen::Draw(lines, size.ws_row);
      } else {
        for (const std::string& line : lines) std::puts(line.c_str());
        std::puts("");
      }
    }
    if (std::fflush(stdout) != 0) return absl::OkStatus();
    if (++frames == options.count) return absl::OkStatus();
  }
}

}  // namespace usher::ctl

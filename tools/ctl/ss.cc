#include "tools/ctl/ss.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace usher::ctl {
namespace {

using Json = nlohmann::json;

uint64_t Number(const Json& row, const char* key) { return row.value(key, uint64_t{0}); }

bool SetOption(char letter, SsOptions* o) {
  switch (letter) {
    case 'l':
      o->listening = true;
      o->all = false;
      return true;
    case 'a':
      o->all = true;
      o->listening = false;
      return true;
    case 't':  // there is nothing but TCP
      return true;
    case 'n':
      return o->numeric = true;
    case 'i':
      return o->info = true;
    case 'o':
      return o->timers = true;
    case 'e':
      return o->extended = true;
    case '4':
      return o->ipv4 = true;
    case '6':
      return o->ipv6 = true;
    case 'H':
      return o->no_header = true;
    default:
      return false;
  }
}

char LetterOf(const std::string& name) {
  static constexpr std::pair<const char*, char> kNames[] = {
      {"--listening", 'l'}, {"--all", 'a'},       {"--tcp", 't'},      {"--numeric", 'n'},
      {"--info", 'i'},      {"--options", 'o'},   {"--extended", 'e'}, {"--ipv4", '4'},
      {"--ipv6", '6'},      {"--no-header", 'H'},
  };
  for (const auto& [known, letter] : kNames)
    if (name == known) return letter;
  return '\0';
}

std::string AddressText(const std::string& address) {
  return address.find(':') != std::string::npos ? absl::StrCat("[", address, "]") : address;
}

std::string PortText(const SsOptions& options, uint64_t port) {
  if (!options.numeric) {
    const servent* service = getservbyport(htons(static_cast<uint16_t>(port)), "tcp");
    if (service != nullptr) return service->s_name;
  }
  return absl::StrCat(port);
}

bool IsListener(const Json& socket) { return socket.value("state", "") == "LISTEN"; }

bool Wanted(const SsOptions& options, const Json& socket) {
  if (options.ipv4 != options.ipv6 && socket.value("family", 4) != (options.ipv4 ? 4 : 6))
    return false;
  return options.all || options.listening || socket.value("state", "") != "TIME-WAIT";
}

std::string Left(const std::string& text, size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text;
}
std::string Right(const std::string& text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

// Milliseconds to three places at most: "0.05", "12".
std::string Millis(uint64_t us) { return absl::StrFormat("%g", static_cast<double>(us) / 1000); }

}  // namespace

absl::StatusOr<SsOptions> ParseSsOptions(const std::vector<std::string>& arguments) {
  SsOptions options;
  for (const std::string& argument : arguments) {
    if (argument.size() > 2 && argument[0] == '-' && argument[1] == '-') {
      if (!SetOption(LetterOf(argument), &options))
        return absl::InvalidArgumentError(absl::StrCat("ss: unknown option ", argument));
      continue;
    }
    if (argument.size() < 2 || argument[0] != '-')
      return absl::InvalidArgumentError(absl::StrCat("ss: what is '", argument, "'?"));
    for (const char letter : argument.substr(1)) {
      if (!SetOption(letter, &options)) {
        return absl::InvalidArgumentError(
            absl::StrCat("ss: unknown option -", std::string(1, letter)));
      }
    }
  }
  return options;
}

// As ss, but for 1 to 10 seconds with a fraction, where ss writes "1.200ms".
std::string TimerText(const Json& timer) {
  const uint64_t ms = Number(timer, "ms");
  const uint64_t minutes = ms / 60000;
  const uint64_t seconds = ms / 1000 % 60;
  std::string left;
  if (minutes != 0) absl::StrAppend(&left, minutes, "min");
  if (minutes > 9) {
    // that will do
  } else if (minutes != 0 || ms >= 10000) {
    if (seconds != 0) absl::StrAppend(&left, seconds, "sec");
  } else if (ms >= 1000) {
    left = absl::StrFormat("%gsec", std::floor(static_cast<double>(ms) / 100) / 10);
  } else {
    left = absl::StrCat(ms, "ms");
  }
  return absl::StrCat("timer:(", timer.value("name", "?"), ",", left, ",",
                      Number(timer, "retransmits"), ")");
}

std::string InfoText(const Json& socket) {
  const auto found = socket.find("info");
  if (found == socket.end()) return {};
  const Json& i = *found;
  std::string text;
  const auto number = [&](const char* name, const char* key) {
    absl::StrAppend(&text, " ", name, ":", Number(i, key));
  };
  const auto number_if_set = [&](const char* name, const char* key) {
    if (Number(i, key) != 0) number(name, key);
  };
  if (i.value("timestamps", false)) text += " ts";
  if (i.value("sack", false)) text += " sack";
  if (i.value("ecn", false)) text += " ecn";
  if (i.value("ecnseen", false)) text += " ecnseen";
  absl::StrAppend(&text, " ", i.value("congestion", "?"));
  if (const auto w = i.find("wscale"); w != i.end())
    absl::StrAppend(&text, " wscale:", (*w)[0].get<int>(), ",", (*w)[1].get<int>());
  absl::StrAppend(&text, " rto:", Number(i, "rto_us") / 1000);
  number_if_set("backoff", "backoff");
  if (i.contains("rtt_us")) {
    absl::StrAppend(&text, " rtt:", Millis(Number(i, "rtt_us")), "/",
                    Millis(Number(i, "rttvar_us")));
  }
  number_if_set("ato", "ato_ms");
  number("mss", "mss");
  number_if_set("pmtu", "pmtu");
  number("rcvmss", "rcvmss");
  number("advmss", "advmss");
  number("cwnd", "cwnd");
  number_if_set("ssthresh", "ssthresh");
  number_if_set("bytes_sent", "bytes_sent");
  number_if_set("bytes_retrans", "bytes_retrans");
  number_if_set("bytes_acked", "bytes_acked");
  number_if_set("bytes_received", "bytes_received");
  if (const uint64_t rtt_us = Number(i, "rtt_us"); rtt_us != 0) {
    const double bits = static_cast<double>(Number(i, "cwnd") * Number(i, "mss") * 8);
    absl::StrAppend(&text,
                    absl::StrFormat(" send %.0fbps", bits * 1e6 / static_cast<double>(rtt_us)));
  }
  number_if_set("lastsnd", "lastsnd_ms");
  number_if_set("lastrcv", "lastrcv_ms");
  number_if_set("lastack", "lastack_ms");
  if (const uint64_t rate = Number(i, "pacing_rate"); rate != 0)
    absl::StrAppend(&text, " pacing_rate ", rate * 8, "bps");
  number_if_set("unacked", "unacked");
  if (Number(i, "retrans") != 0 || Number(i, "total_retrans") != 0) {
    absl::StrAppend(&text, " retrans:", Number(i, "retrans"), "/", Number(i, "total_retrans"));
  }
  number_if_set("lost", "lost");
  number_if_set("sacked", "sacked");
  if (Number(i, "reordering") != 3) number("reordering", "reordering");
  if (i.value("reord_seen", false)) text += " reord_seen";
  number_if_set("rcv_ssthresh", "rcv_ssthresh");
  number_if_set("notsent", "notsent");
  if (i.contains("minrtt_us")) absl::StrAppend(&text, " minrtt:", Millis(Number(i, "minrtt_us")));
  number_if_set("snd_wnd", "snd_wnd");
  return text;
}

std::string ListenerText(const Json& l) {
  const auto found = l.find("counters");
  const Json counters = found != l.end() ? *found : Json::object();
  std::string text = absl::StrCat(
      "half-open:", Number(l, "half_open"), "/", Number(l, "half_open_capacity"),
      " young:", Number(l, "young"), " cookies:", Number(counters, "syncookies_sent"), "/",
      Number(counters, "syncookies_recv"), "/", Number(counters, "syncookies_failed"),
      " held-back-by:", l.value("held_back_by", "?"), " model:", l.value("model", "?"));
  if (Number(l, "parked") != 0) absl::StrAppend(&text, " parked:", Number(l, "parked"));
  if (Number(l, "fast_open_pending") != 0)
    absl::StrAppend(&text, " fastopen:", Number(l, "fast_open_pending"));
  absl::StrAppend(&text, " accepted:", Number(counters, "accepted"),
                  " overflows:", Number(counters, "listen_overflows"),
                  " drops:", Number(counters, "listen_drops"));
  if (l.value("family", 4) == 6)
    absl::StrAppend(&text, " v6only:", l.value("v6_only", false) ? 1 : 0);
  return text;
}

SsPrinter::SsPrinter(const SsOptions& options, std::function<void(const std::string&)> print)
    : options_(options), print_(std::move(print)) {}

void SsPrinter::Add(const Json& socket) {
  Row row;
  row.state = socket.value("state", "?");
  row.recv_q = absl::StrCat(Number(socket, "recv_q"));
  row.send_q = absl::StrCat(Number(socket, "send_q"));
  row.local = AddressText(socket.value("local", "?"));
  row.local_port = PortText(options_, Number(socket, "local_port"));
  if (IsListener(socket)) {
    // The unspecified address of the same family, as ss has it.
    const bool both = row.local == "*";
    row.peer = both ? "*" : socket.value("family", 4) == 4 ? "0.0.0.0" : "[::]";
    row.peer_port = "*";
    if (options_.extended) row.extra = ListenerText(socket);
  } else {
    row.peer = AddressText(socket.value("peer", "?"));
    row.peer_port = PortText(options_, Number(socket, "peer_port"));
    if (const auto timer = socket.find("timer"); options_.timers && timer != socket.end())
      row.extra = TimerText(*timer);
    if (options_.extended) {
      absl::StrAppend(&row.extra, row.extra.empty() ? "" : " ", "shard:", Number(socket, "shard"),
                      socket.value("queued", false) ? " queued" : "");
    }
    if (options_.info) row.info = InfoText(socket);
  }
  if (measured_) {
    Print(row);
    return;
  }
  rows_.push_back(std::move(row));
  if (rows_.size() == kRowsMeasured) Measure();
}

void SsPrinter::Finish() {
  if (!measured_) Measure();
}

void SsPrinter::Measure() {
  measured_ = true;
  const Row header = {"State", "Recv-Q", "Send-Q", "Local Address", "Port", "Peer Address",
                      "Port",  "",       ""};
  if (!options_.no_header) rows_.insert(rows_.begin(), header);
  for (const Row& row : rows_) {
    state_ = std::max(state_, row.state.size());
    recv_q_ = std::max(recv_q_, row.recv_q.size());
    send_q_ = std::max(send_q_, row.send_q.size());
    local_ = std::max(local_, row.local.size());
    local_port_ = std::max(local_port_, row.local_port.size());
    peer_ = std::max(peer_, row.peer.size());
    peer_port_ = std::max(peer_port_, row.peer_port.size());
  }
  for (const Row& row : rows_) Print(row);
  rows_.clear();
  rows_.shrink_to_fit();
}

void SsPrinter::Print(const Row& row) {
  std::string line = absl::StrCat(Left(row.state, state_), " ", Left(row.recv_q, recv_q_), " ",
                                  Left(row.send_q, send_q_), " ", Right(row.local, local_), ":",
                                  Left(row.local_port, local_port_), " ", Right(row.peer, peer_),
                                  ":", Left(row.peer_port, peer_port_));
  if (!row.extra.empty()) absl::StrAppend(&line, " ", row.extra);
  line.erase(line.find_last_not_of(' ') + 1);
  print_(line);
  if (!row.info.empty()) print_(absl::StrCat("\t", row.info));
}

absl::Status RunSs(Client& client, const SsOptions& options, bool json) {
  SsPrinter printer(options, [](const std::string& line) {
    std::fwrite(line.data(), 1, line.size(), stdout);
    std::fputc('\n', stdout);
  });
  bool first = true;
  const auto take = [&](const Json& socket) {
    if (!Wanted(options, socket)) return true;
    if (!json) {
      printer.Add(socket);
    } else {
      const std::string row = socket.dump();
      std::fputs(first ? "[\n" : ",\n", stdout);
      std::fwrite(row.data(), 1, row.size(), stdout);
      first = false;
    }
    return std::ferror(stdout) == 0;  // else the reader has had enough
  };
  if (options.listening || options.all) {
    if (absl::Status s = client.Ask(Json{{"command", "listeners"}}, take); !s.ok()) return s;
  }
  if (!options.listening) {
    const Json request = {{"command", "sockets"},
                          {"requests", options.all},
                          {"connections", true},
                          {"time_wait", true},
                          {"info", options.info || json}};
    if (absl::Status s = client.Ask(request, take); !s.ok()) return s;
  }
  if (json) {
    std::fputs(first ? "[]\n" : "\n]\n", stdout);
  } else {
    printer.Finish();
  }
  return absl::OkStatus();
}

}  // namespace usher::ctl

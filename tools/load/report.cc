#include "tools/load/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace usher::load {
namespace {

using Json = nlohmann::ordered_json;

// From here on the generator is told to be the bottleneck.
constexpr double kSaturated = 0.95;
constexpr double kKept = 0.99;  // of the rate asked for

constexpr struct {
  const char* name;
  double percent;
} kPercentiles[] = {{"p50", 50}, {"p75", 75},     {"p90", 90},      {"p95", 95},
                    {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}};

double Micros(Duration d) { return static_cast<double>(d.ns()) / 1e3; }
double Seconds(Duration d) { return static_cast<double>(d.ns()) / 1e9; }

// All cores together, and how long they were measured.
struct Total {
  explicit Total(std::span<const Result> cores) {
    for (const Result& r : cores) {
      sum.Add(r);
      seconds = std::max(seconds, Seconds(r.cpu.wall));
      busiest = std::max(busiest, r.cpu.busy_share());
    }
  }
  double PerSecond(uint64_t n) const { return seconds > 0 ? static_cast<double>(n) / seconds : 0; }

  Result sum;
  double seconds = 0;
  double busiest = 0;
};

const char* Bottleneck(const LoadOptions& options, const Total& total) {
  const double wanted = options.rate * total.seconds;
  const auto done =
      static_cast<double>(IsFlood(options.mode) ? total.sum.frames : total.sum.answers);
  if (wanted > 0 && done >= wanted * kKept) return "none: the rate asked for was kept";
  return total.busiest >= kSaturated ? "generator" : "server or link";
}

std::string ErrorList(const Result& r) {
  std::string list;
  const auto add = [&](const std::string& name, uint64_t n) {
    if (n != 0) absl::StrAppend(&list, list.empty() ? "" : ", ", n, " ", name);
  };
  add("not 2xx", r.not_success);
  add("not HTTP", r.not_http);
  add("cut short", r.cut_short);
  for (size_t i = 0; i < kErrorKinds; ++i) add(ToString(static_cast<Error>(i)), r.errors[i]);
  return list.empty() ? "none" : list;
}

std::string LatencyLine(const Histogram& h) {
  std::string line = absl::StrFormat("latency us   mean %.1f", Micros(h.mean()));
  for (const auto& p : kPercentiles)
    absl::StrAppendFormat(&line, ", %s %.1f", p.name, Micros(h.Percentile(p.percent)));
  absl::StrAppendFormat(&line, ", max %.1f\n", Micros(h.max()));
  return line;
}

Json JsonOf(const Histogram& h) {
  Json json = {{"count", h.count()}, {"min", Micros(h.min())}, {"mean", Micros(h.mean())}};
  for (const auto& p : kPercentiles) json[p.name] = Micros(h.Percentile(p.percent));
  json["max"] = Micros(h.max());
  return json;
}

Json JsonOf(const CpuUse& cpu, size_t shard) {
  return {{"shard", shard},
          {"busy", cpu.busy_share()},
          {"cpu", cpu.cpu_share()},
          {"user_s", Seconds(cpu.user)},
          {"system_s", Seconds(cpu.system)},
          {"passes", cpu.passes}};
}

Json ErrorsOf(const Result& r) {
  Json errors = {
      {"not_success", r.not_success}, {"not_http", r.not_http}, {"cut_short", r.cut_short}};
  for (size_t i = 0; i < kErrorKinds; ++i)
    if (r.errors[i] != 0) errors[ToString(static_cast<Error>(i))] = r.errors[i];
  return errors;
}

std::string CpuLines(const LoadOptions& options, const Total& total,
                     std::span<const Result> cores) {
  std::string text;
  for (size_t i = 0; i < cores.size(); ++i) {
    const CpuUse& cpu = cores[i].cpu;
    const double wall = std::max(Seconds(cpu.wall), 1e-9);
    absl::StrAppendFormat(
        &text, "core %-8d busy %.0f%% of the time; CPU %.0f%% (user %.0f%%, system %.0f%%)\n", i,
        cpu.busy_share() * 100, cpu.cpu_share() * 100, Seconds(cpu.user) / wall * 100,
        Seconds(cpu.system) / wall * 100);
  }
  absl::StrAppend(&text, "bottleneck   ", Bottleneck(options, total), "\n");
  return text;
}

}  // namespace

void Result::Add(const Result& other) {
  latency.Add(other.latency);
  answers += other.answers;
  body_bytes += other.body_bytes;
  all_answers += other.all_answers;
  all_body_bytes += other.all_body_bytes;
  connections += other.connections;
  not_success += other.not_success;
  not_http += other.not_http;
  cut_short += other.cut_short;
  unanswered += other.unanswered;
  overdue += other.overdue;
  for (size_t i = 0; i < kErrorKinds; ++i) errors[i] += other.errors[i];
  frames += other.frames;
  all_frames += other.all_frames;
  refused += other.refused;
  syn_acks += other.syn_acks;
  resets += other.resets;
  other_answers += other.other_answers;
  unreachable = unreachable || other.unreachable;
}

std::string TextReport(const LoadOptions& options, std::span<const Result> cores,
                       bool interrupted) {
  const Total total(cores);
  const Result& r = total.sum;
  std::string text = absl::StrFormat("%s to %s for %.2f s%s\n", ToString(options.mode),
                                     usher::ToString(options.to, options.port), total.seconds,
                                     interrupted ? " (interrupted)" : "");
  if (IsFlood(options.mode)) {
    absl::StrAppendFormat(&text, "frames       %d, %.0f/s; %d not taken at once\n", r.frames,
                          total.PerSecond(r.frames), r.refused);
    absl::StrAppendFormat(&text, "answers      %.0f/s; in all %d SYN-ACK, %d RST, %d other\n",
                          total.PerSecond(r.answers), r.syn_acks, r.resets, r.other_answers);
    return text + CpuLines(options, total, cores);
  }
  if (options.mode != Mode::kBulk)
    absl::StrAppendFormat(&text, "answers      %d, %.0f/s\n", r.answers,
                          total.PerSecond(r.answers));
  absl::StrAppendFormat(&text, "body bytes   %d, %.1f Mbit/s\n", r.body_bytes,
                        total.PerSecond(r.body_bytes) * 8 / 1e6);
  absl::StrAppendFormat(&text, "connections  %d opened\n", r.connections);
  absl::StrAppend(&text, "errors       ", ErrorList(r), "\n");
  if (r.unanswered + r.overdue != 0)
    absl::StrAppendFormat(&text, "at the end   %d unanswered, %d overdue\n", r.unanswered,
                          r.overdue);
  if (options.mode != Mode::kBulk) text += LatencyLine(r.latency);
  return text + CpuLines(options, total, cores);
}

std::string JsonReport(const LoadOptions& options, std::span<const Result> cores,
                       bool interrupted) {
  const Total total(cores);
  const Result& r = total.sum;
  Json json = {{"mode", ToString(options.mode)},
               {"to", usher::ToString(options.to, options.port)},
               {"seconds", total.seconds},
               {"interrupted", interrupted},
               {"rate_asked", options.rate}};
  if (IsFlood(options.mode)) {
    json["frames"] = r.frames;
    json["frames_per_second"] = total.PerSecond(r.frames);
    json["refused"] = r.refused;
    json["answers_per_second"] = total.PerSecond(r.answers);
    json["syn_acks"] = r.syn_acks;
    json["resets"] = r.resets;
    json["other_answers"] = r.other_answers;
    json["all"] = {{"frames", r.all_frames}};
  } else {
    json["connections"] = options.connections;
    json["answers"] = r.answers;
    json["answers_per_second"] = total.PerSecond(r.answers);
    json["body_bytes"] = r.body_bytes;
    json["bits_per_second"] = total.PerSecond(r.body_bytes) * 8;
    json["latency_us"] = JsonOf(r.latency);
    json["errors"] = ErrorsOf(r);
    json["failures"] = r.failures();
    json["unanswered"] = r.unanswered;
    json["overdue"] = r.overdue;
    json["all"] = {{"answers", r.all_answers},
                   {"body_bytes", r.all_body_bytes},
                   {"connections_opened", r.connections}};
  }
  json["cores"] = Json::array();
  for (size_t i = 0; i < cores.size(); ++i) json["cores"].push_back(JsonOf(cores[i].cpu, i));
  json["bottleneck"] = Bottleneck(options, total);
  return json.dump(2) + "\n";
}

std::string Failure(const LoadOptions& options, std::span<const Result> cores) {
  const Total total(cores);
  const std::string server = usher::ToString(options.to, options.port);
  if (IsFlood(options.mode))
    return total.sum.unreachable ? absl::StrCat("nobody on the link answers for ", server) : "";
  if (total.sum.all_answers + total.sum.all_body_bytes != 0) return "";
  return absl::StrCat("nothing came from ", server, "; errors: ", ErrorList(total.sum));
}

}  // namespace usher::load

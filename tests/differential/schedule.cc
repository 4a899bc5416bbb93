#include "tests/differential/schedule.h"

#include <charconv>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/differential/client.h"

namespace usher::differential {
namespace {

std::string Number(const char* base, int32_t delta) {
  if (delta == 0) return base;
  return delta > 0 ? absl::StrCat(base, "+", delta) : absl::StrCat(base, delta);
}

std::string Options(const SegmentStep& s) {
  static constexpr const char* kEcho[] = {"last", "first", "0", "below", "above"};
  std::string text;
  if (s.mss != 0) absl::StrAppend(&text, " mss ", s.mss);
  if (s.sack) text += " sackOK";
  if (s.ts != TsValue::kNone)
    absl::StrAppend(&text, " ts ", s.ts == TsValue::kOld ? "old" : "now", "/",
                    kEcho[static_cast<size_t>(s.echo)]);
  if (s.window_scale >= 0) absl::StrAppend(&text, " wscale ", s.window_scale);
  static constexpr const char* kFastOpen[] = {"", "asked for", "as given", "wrong", "short"};
  if (s.fast_open != FastOpen::kNone)
    absl::StrAppend(&text, " cookie ", kFastOpen[static_cast<size_t>(s.fast_open)],
                    s.experimental ? " (experimental)" : "");
  if (s.layout != 0) absl::StrAppend(&text, " layout ", s.layout);
  return text;
}

std::string ToString(const SegmentStep& s) {
  std::string text = absl::StrCat("c", s.client, " sends [", FlagText(s.flags), "] seq ",
                                  Number(s.seq_base == SeqBase::kIsn ? "isn" : "nxt", s.seq_delta));
  static constexpr const char* kAck[] = {"", "isn+1", "nxt", "previous isn+1"};
  if (s.ack_base != AckBase::kNone)
    absl::StrAppend(&text, " ack ", Number(kAck[static_cast<size_t>(s.ack_base)], s.ack_delta));
  absl::StrAppend(&text, " win ", s.window, Options(s));
  if (s.length != 0) absl::StrAppend(&text, " length ", s.length);
  if (s.fresh) text += " (new connection)";
  if (s.to_broadcast) text += " to broadcast";
  return text;
}

}  // namespace

std::string ToString(const Step& s) {
  switch (s.kind) {
    case StepKind::kSysctl:
      return absl::StrCat("sysctl ", s.name, " = ", s.value);
    case StepKind::kListen: {
      std::string text = absl::StrCat("listen(", s.backlog, ")");
      if (s.reuseport) text += " SO_REUSEPORT";
      if (s.fastopen_qlen >= 0) absl::StrAppend(&text, " TCP_FASTOPEN ", s.fastopen_qlen);
      if (s.defer_s != 0) absl::StrAppend(&text, " TCP_DEFER_ACCEPT ", s.defer_s);
      if (s.syncnt != 0) absl::StrAppend(&text, " TCP_SYNCNT ", s.syncnt);
      if (s.save_syn) text += " TCP_SAVE_SYN";
      return text;
    }
    case StepKind::kBacklog:
      return absl::StrCat("listen(", s.backlog, ") again");
    case StepKind::kCloseListener:
      return "close the listener";
    case StepKind::kSegment:
      return ToString(s.segment);
    case StepKind::kAccept:
      return "accept";
    case StepKind::kAcceptAll:
      return "accept all";
    case StepKind::kRead:
      return absl::StrCat("read from c", s.client);
    case StepKind::kClose:
      return absl::StrCat("close c", s.client);
    case StepKind::kShutdown:
      return absl::StrCat("shutdown(SHUT_WR) c", s.client);
    case StepKind::kWrite:
      return absl::StrCat("write ", s.bytes, " bytes to c", s.client);
    case StepKind::kWait:
      return absl::StrCat("wait ", s.wait_ms, " ms");
  }
  return "?";
}

std::string ToString(const Schedule& schedule) {
  std::string text;
  for (size_t i = 0; i < schedule.steps.size(); ++i)
    absl::StrAppend(&text, "  ", i, ": ", ToString(schedule.steps[i]), "\n");
  return text;
}

Schedule Keep(const Schedule& schedule, const std::vector<size_t>& kept) {
  Schedule result = schedule;
  result.steps.clear();
  for (const size_t i : kept)
    if (i < schedule.steps.size()) result.steps.push_back(schedule.steps[i]);
  return result;
}

std::vector<size_t> ParseStepList(const std::string& text) {
  std::vector<size_t> kept;
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  for (const std::string& part : parts) {
    size_t first = 0;
    const char* const end = part.data() + part.size();
    auto [p, error] = std::from_chars(part.data(), end, first);
    size_t last = first;
    if (error == std::errc() && p != end && *p == '-') {
      const auto second = std::from_chars(p + 1, end, last);
      p = second.ptr;
      error = second.ec;
    }
    if (error != std::errc() || p != end || last < first || last > 100000) return {};
    for (size_t i = first; i <= last; ++i) kept.push_back(i);
  }
  return kept;
}

std::string StepListToString(const std::vector<size_t>& kept) {
  std::string text;
  for (size_t i = 0; i < kept.size();) {
    size_t j = i;
    while (j + 1 < kept.size() && kept[j + 1] == kept[j] + 1) ++j;
    if (!text.empty()) text += ",";
    absl::StrAppend(&text, kept[i]);
    if (j > i) absl::StrAppend(&text, "-", kept[j]);
    i = j + 1;
  }
  return text;
}

}  // namespace usher::differential

// packetdrill's language, as far as these scripts use it.
#include <algorithm>
#include <sstream>

#include "tests/script/lexer.h"
#include "tests/script/script.h"

namespace usher::script {
namespace {

constexpr struct {
  char letter;
  uint8_t bit;
} kFlags[] = {{'F', 0x01}, {'S', 0x02}, {'R', 0x04}, {'P', 0x08},
              {'.', 0x10}, {'U', 0x20}, {'E', 0x40}, {'W', 0x80}};

std::vector<uint8_t> HexBytes(const std::string& text) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<uint8_t>(std::stoul(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

std::string HexWord(Lexer& in) {
  std::string text;
  while (std::isxdigit(static_cast<unsigned char>(in.Peek())) != 0) {
    const char c[] = {in.Peek(), 0};
    in.Take(c);
    text += c;
  }
  return text;
}

When ParseWhen(Lexer& in) {
  When when;
  if (in.Take("*")) {
    when.kind = When::Kind::kAny;
    return when;
  }
  if (in.Take("+")) when.kind = When::Kind::kAfter;
  when.time_us = in.Seconds();
  if (in.Take("~")) {
    in.Take("+");
    when.latest_us = in.Seconds();
  } else if (in.Take("...")) {
    in.Take("+");
    when.end_us = in.Seconds();
  }
  return when;
}

Option ParseOption(Lexer& in) {
  Option o;
  const std::string name = in.Word();
  if (name == "eol") {
    o.kind = Option::Kind::kEol;
  } else if (name == "nop") {
    o.kind = Option::Kind::kNop;
  } else if (name == "mss") {
    o.kind = Option::Kind::kMss;
    o.value = static_cast<uint32_t>(in.Number());
  } else if (name == "wscale") {
    o.kind = Option::Kind::kWscale;
    o.value = static_cast<uint32_t>(in.Number());
  } else if (name == "sackOK") {
    o.kind = Option::Kind::kSackOk;
  } else if (name == "sack") {
    o.kind = Option::Kind::kSack;
    do {
      const auto begin = static_cast<uint32_t>(in.Number());
      in.Expect(":");
      o.blocks.emplace_back(begin, static_cast<uint32_t>(in.Number()));
    } while (in.PeekIsNumber());
  } else if (name == "TS") {
    o.kind = Option::Kind::kTimestamps;
    in.TakeWord("val");
    o.value = static_cast<uint32_t>(in.Number());
    in.TakeWord("ecr");
    o.echo = static_cast<uint32_t>(in.Number());
  } else if (name == "FO" || name == "FOEXP") {
    o.kind = name == "FO" ? Option::Kind::kFastOpen : Option::Kind::kFastOpenExperimental;
    o.bytes = HexBytes(HexWord(in));
  } else if (name == "md5") {
    o.kind = Option::Kind::kMd5;
    const std::string key = in.Word();
    o.bytes.assign(key.begin(), key.end());
  } else if (name == "raw") {
    o.kind = Option::Kind::kRaw;
    o.bytes = HexBytes(HexWord(in));
  } else {
    throw SyntaxError("no such option: " + name);
  }
  return o;
}

void ParseSpan(Lexer& in, Packet* p) {
  p->seq = static_cast<uint32_t>(in.Number());
  in.Expect(":");
  in.Number();
  in.Expect("(");
  p->length = static_cast<uint32_t>(in.Number());
  in.Expect(")");
}

void ParseEcn(Lexer& in, Packet* p) {
  constexpr struct {
    const char* name;
    uint8_t bits;
  } kMarks[] = {{"noecn", 0}, {"ect1", 1}, {"ect0", 2}, {"ce", 3}};
  for (const auto& m : kMarks)
    if (in.TakeWord(m.name)) {
      p->ecn = m.bits;
      return;
    }
  if (in.TakeWord("ttl")) p->ttl = static_cast<uint8_t>(in.Number());
}

void ParseIcmp(Lexer& in, Packet* p) {
  p->icmp = true;
  p->icmp_type = in.Word();
  if (in.PeekIsWord() && !in.PeekIs("mtu")) p->icmp_code = in.Word();
  if (in.TakeWord("mtu")) p->mtu = static_cast<uint32_t>(in.Number());
}

Packet ParsePacket(Lexer& in) {
  Packet p;
  p.inbound = in.Take("<");
  if (!p.inbound) in.Expect(">");
  if (in.PeekIsNumber()) p.connection = static_cast<int>(in.Number());
  bool echoed = false;
  if (in.Take("[")) {
    if (in.PeekIsNumber()) {
      ParseSpan(in, &p);
      echoed = true;
    } else {
      do ParseEcn(in, &p);
      while (in.Take(","));
    }
    in.Expect("]");
  }
  if (in.TakeWord("icmp")) {
    ParseIcmp(in, &p);
    if (!echoed && in.Take("[")) {
      ParseSpan(in, &p);
      in.Expect("]");
    }
    return p;
  }
  if (!in.Take("-")) {
    for (bool found = true; found;) {
      found = false;
      for (const auto& f : kFlags)
        if (in.Take(std::string(1, f.letter))) {
          p.flags |= f.bit;
          found = true;
        }
    }
  }
  ParseSpan(in, &p);
  if (in.TakeWord("ack")) p.ack = static_cast<uint32_t>(in.Number());
  if (in.TakeWord("win")) p.window = static_cast<uint16_t>(in.Number());
  if (in.TakeWord("urg")) p.urgent = static_cast<uint16_t>(in.Number());
  if (in.PeekIs("<")) {
    in.Expect("<");
    p.any_options = false;
    if (in.Take("...")) {
      p.any_options = true;
    } else if (!in.PeekIs(">")) {
      do p.options.push_back(ParseOption(in));
      while (in.Take(","));
    }
    in.Expect(">");
  } else if (p.inbound) {
    p.any_options = false;
  }
  return p;
}

// Symbols and numbers joined by |.
int64_t ParseSum(Lexer& in) {
  int64_t sum = 0;
  do {
    const bool negative = in.Take("-");
    int64_t n = 0;
    if (in.PeekIsWord()) {
      const std::string name = in.Word();
      const auto value = Symbol(name);
      if (!value) throw SyntaxError("no such symbol: " + name);
      n = *value;
    } else {
      n = in.Number();
    }
    sum |= negative ? -n : n;
  } while (in.Take("|"));
  return sum;
}

Value ParseValue(Lexer& in) {
  Value v;
  if (in.Take("...")) return v;
  if (in.Take("\"")) {
    v.kind = Value::Kind::kText;
    v.text = in.Until("\"");
  } else if (in.Take("[")) {
    v.kind = Value::Kind::kList;
    while (!in.Take("]")) {
      v.list.push_back(ParseValue(in));
      in.Take(",");
    }
  } else if (in.Take("{")) {
    v.kind = Value::Kind::kStruct;
    while (!in.Take("}")) {
      std::string name;
      if (in.PeekIsWord()) name = in.Word();
      if (in.Take("(")) in.Until(")");  // msg_iov(1)=...: the length is the list's
      if (!name.empty()) in.Expect("=");
      v.fields.push_back({name, ParseValue(in)});
      in.Take(",");
    }
  } else {
    v.kind = Value::Kind::kNumber;
    v.number = ParseSum(in);
  }
  return v;
}

Call ParseCall(Lexer& in) {
  Call call;
  call.name = in.Word();
  in.Expect("(");
  while (!in.Take(")")) {
    call.arguments.push_back(ParseValue(in));
    in.Take(",");
  }
  in.Expect("=");
  call.result = ParseValue(in);
  if (in.PeekIsWord()) {
    const auto number = Symbol(in.Word());
    if (!number) throw SyntaxError("no such errno");
    call.error = static_cast<int>(*number);
    if (in.Take("(")) in.Until(")");
  }
  return call;
}

// "//: key value" lines say what packetdrill takes from elsewhere: sysctls and families.
void ParseDirectives(const std::string& text, Script* script) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("//: ", 0) != 0) continue;
    std::istringstream words(line.substr(4));
    std::string key;
    words >> key;
    if (key == "only") {
      for (std::string family; words >> family;) script->families.push_back(family);
      continue;
    }
    const size_t equals = line.find('=');
    if (equals == std::string::npos) throw SyntaxError("not a directive: " + line);
    script->sysctls[line.substr(4, equals - 4)] = line.substr(equals + 1);
  }
}

void ParseFlag(Lexer& in, Script* script) {
  const std::string name = in.Word();
  in.Expect("=");
  if (name == "tolerance_usecs")
    script->tolerance_us = in.Number();
  else
    script->flags += "," + name + "=" + (in.PeekIsWord() ? in.Word() : std::to_string(in.Number()));
}

}  // namespace

const Value* Value::Field(const std::string& name) const {
  for (const auto& [key, value] : fields)
    if (key == name) return &value;
  return nullptr;
}

bool Parse(const std::string& text, Script* script, std::string* error) {
  Lexer in(text);
  try {
    ParseDirectives(text, script);
    while (in.Take("--")) ParseFlag(in, script);
    while (!in.AtEnd()) {
      Event e;
      e.when = ParseWhen(in);
      in.Peek();
      e.line = in.line();
      if (in.PeekIs("<") || in.PeekIs(">")) {
        e.packet = ParsePacket(in);
      } else if (in.Take("%{")) {
        e.kind = Event::Kind::kAssert;
        e.code = in.Until("}%");
      } else {
        e.kind = Event::Kind::kCall;
        e.call = ParseCall(in);
      }
      script->events.push_back(std::move(e));
    }
    return true;
  } catch (const std::exception& e) {
    *error = "line " + std::to_string(in.line()) + ": " + e.what();
    return false;
  }
}

}  // namespace usher::script

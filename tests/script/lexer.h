// Words, numbers and signs of a text, one after the other.
#pragma once

#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace usher::script {

struct SyntaxError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Lexer {
 public:
  explicit Lexer(const std::string& text) : text_(text) {}

  bool AtEnd() {
    SkipBlanks();
    return at_ == text_.size();
  }
  // The next character, not taken; 0 at the end.
  char Peek() {
    SkipBlanks();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool PeekIs(const std::string& what) {
    SkipBlanks();
    return text_.compare(at_, what.size(), what) == 0;
  }
  // Takes `what` if it stands next.
  bool Take(const std::string& what) {
    if (!PeekIs(what)) return false;
    at_ += what.size();
    return true;
  }
  void Expect(const std::string& what) {
    if (!Take(what)) throw SyntaxError("'" + what + "' expected before '" + Rest() + "'");
  }
  bool PeekIsWord() {
    const char c = Peek();
    return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
  }
  std::string Word() {
    if (!PeekIsWord()) throw SyntaxError("a name expected before '" + Rest() + "'");
    const size_t from = at_;
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '_'))
      ++at_;
    return text_.substr(from, at_ - from);
  }
  // Takes the word `what` if it stands next.
  bool TakeWord(const std::string& what) {
    const size_t from = at_;
    if (PeekIsWord() && Word() == what) return true;
    at_ = from;
    return false;
  }
  bool PeekIsNumber() { return std::isdigit(static_cast<unsigned char>(Peek())) != 0; }
  int64_t Number() {
    const char* from = text_.c_str() + at_;
    if (!PeekIsNumber()) throw SyntaxError("a number expected before '" + Rest() + "'");
    from = text_.c_str() + at_;
    char* end = nullptr;
    const auto value = static_cast<int64_t>(std::strtoull(from, &end, 0));
    at_ += static_cast<size_t>(end - from);
    return value;
  }
  // Seconds, with up to six decimals, in microseconds.
  int64_t Seconds() {
    SkipBlanks();
    const size_t from = at_;
    int64_t us = 0;
    while (Digit()) us = us * 10 + (text_[at_++] - '0');
    us *= 1'000'000;
    if (at_ < text_.size() && text_[at_] == '.' && text_.compare(at_, 3, "...") != 0) {
      ++at_;
      for (int64_t unit = 100'000; Digit(); unit /= 10) us += unit * (text_[at_++] - '0');
    }
    if (at_ == from) throw SyntaxError("a time expected before '" + Rest() + "'");
    return us;
  }
  // Everything up to and with `end`, which is taken but not returned.
  std::string Until(const std::string& end) {
    const size_t to = text_.find(end, at_);
    if (to == std::string::npos) throw SyntaxError("no '" + end + "'");
    const std::string found = text_.substr(at_, to - at_);
    at_ = to + end.size();
    return found;
  }
  int line() const {
    int n = 1;
    for (size_t i = 0; i < at_; ++i) n += text_[i] == '\n';
    return n;
  }

 private:
  bool Digit() const {
    return at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0;
  }
  std::string Rest() const {
    return text_.substr(at_, std::min<size_t>(20, text_.find('\n', at_) - at_));
  }
  void SkipBlanks() {
    for (;;) {
      while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
      if (text_.compare(at_, 2, "//") == 0) {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (text_.compare(at_, 2, "/*") == 0) {
        const size_t end = text_.find("*/", at_);
        if (end == std::string::npos) throw SyntaxError("a comment without end");
        at_ = end + 2;
      } else {
        return;
      }
    }
  }

  const std::string& text_;
  size_t at_ = 0;
};

}  // namespace usher::script

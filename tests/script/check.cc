// What stands between %{ and }%: assert expressions over integers, in Python's words.
#include "tests/script/lexer.h"
#include "tests/script/script.h"

namespace usher::script {
namespace {

class Expression {
 public:
  Expression(Lexer& in, const std::map<std::string, int64_t>& names) : in_(in), names_(names) {}

  int64_t Or() {
    int64_t v = And();
    while (in_.TakeWord("or")) v = And() != 0 || v != 0;
    return v;
  }

 private:
  int64_t And() {
    int64_t v = Not();
    while (in_.TakeWord("and")) v = Not() != 0 && v != 0;
    return v;
  }
  int64_t Not() { return in_.TakeWord("not") ? Not() == 0 : Compare(); }
  // Chains, as a <= b <= c.
  int64_t Compare() {
    int64_t left = Sum();
    bool holds = true;
    bool compared = false;
    for (;;) {
      bool ok = true;
      int64_t right = 0;
      if (in_.Take("==")) {
        ok = left == (right = Sum());
      } else if (in_.Take("!=")) {
        ok = left != (right = Sum());
      } else if (in_.Take("<=")) {
        ok = left <= (right = Sum());
      } else if (in_.Take(">=")) {
        ok = left >= (right = Sum());
      } else if (in_.Take("<")) {
        ok = left < (right = Sum());
      } else if (in_.Take(">")) {
        ok = left > (right = Sum());
      } else {
        return compared ? holds : left;
      }
      compared = true;
      holds = holds && ok;
      left = right;
    }
  }
  int64_t Sum() {
    int64_t v = Product();
    for (;;) {
      if (in_.Take("+"))
        v += Product();
      else if (in_.Take("-"))
        v -= Product();
      else if (in_.Take("|"))
        v |= Product();
      else if (in_.Take("&"))
        v &= Product();
      else
        return v;
    }
  }
  int64_t Product() {
    int64_t v = Unary();
    for (;;) {
      if (in_.Take("*"))
        v *= Unary();
      else if (in_.Take("/"))
        v /= Unary();
      else
        return v;
    }
  }
  int64_t Unary() {
    if (in_.Take("-")) return -Unary();
    if (in_.Take("(")) {
      const int64_t v = Or();
      in_.Expect(")");
      return v;
    }
    if (!in_.PeekIsWord()) return in_.Number();
    const std::string name = in_.Word();
    const auto it = names_.find(name);
    if (it != names_.end()) return it->second;
    const auto symbol = Symbol(name);
    if (!symbol) throw SyntaxError("no such name: " + name);
    return *symbol;
  }

  Lexer& in_;
  const std::map<std::string, int64_t>& names_;
};

}  // namespace

bool Check(const std::string& code, const std::map<std::string, int64_t>& names,
           std::string* error) {
  Lexer in(code);
  try {
    while (!in.AtEnd()) {
      if (in.Take(";")) continue;
      if (!in.TakeWord("assert")) throw SyntaxError("only assert is understood");
      const bool holds = Expression(in, names).Or() != 0;
      std::string shown;
      if (in.Take(",")) shown = std::to_string(Expression(in, names).Or());
      if (!holds) {
        *error = "assertion failed: " + code + (shown.empty() ? "" : " (" + shown + ")");
        return false;
      }
    }
    return true;
  } catch (const std::exception& e) {
    *error = e.what();
    return false;
  }
}

}  // namespace usher::script

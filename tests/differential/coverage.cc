#include "tests/differential/coverage.h"

namespace usher::differential {

const std::vector<std::string>& AllRows() {
  static const std::vector<std::string> rows = {};
  return rows;
}

std::map<std::string, uint64_t> RowsHit(const Schedule&, const Trace&) { return {}; }

}  // namespace usher::differential

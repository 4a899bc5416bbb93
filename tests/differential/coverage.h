// Which rows of the rule book a schedule has hit.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/differential/play.h"

namespace usher::differential {

// Every row that the run is to hit, in the order of the rule book.
const std::vector<std::string>& AllRows();

// Of those, the ones that this account of a schedule shows, and how often.
std::map<std::string, uint64_t> RowsHit(const Schedule& schedule, const Trace& trace);

}  // namespace usher::differential

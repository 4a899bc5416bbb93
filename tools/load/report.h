// What usher-load says at the end.
#pragma once

#include <span>
#include <string>

#include "tools/load/options.h"
#include "tools/load/result.h"

namespace usher::load {

// `cores`: one result for each core, at least one; `interrupted`: it was ended before its time.
std::string TextReport(const LoadOptions& options, std::span<const Result> cores, bool interrupted);
std::string JsonReport(const LoadOptions& options, std::span<const Result> cores, bool interrupted);

// Empty if the server was loaded, else one line: why that was no load at all.
std::string Failure(const LoadOptions& options, std::span<const Result> cores);

}  // namespace usher::load

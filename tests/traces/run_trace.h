// Runs one trace file and says what it found, in the words of the trace.
#pragma once

#include <string>

namespace sluice::trace {

// Empty when all went as the trace says; otherwise "FILE:LINE: expected ..., got ...".
std::string run_trace(const std::string& path);

}  // namespace sluice::trace

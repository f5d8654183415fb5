// The commands that look at packets: trace add, capture start, capture stop, show captures. The
// dataplane reads the filter and does the work; the shell waits for a trace and prints it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "mgmt/shell/context.h"

namespace sluice {

int trace_add(Context& context, const Invocation& invocation);
int capture_start(Context& context, const Invocation& invocation);
int capture_stop(Context& context, const Invocation& invocation);
int show_captures(Context& context, const Invocation& invocation);

// The words of `trace add`: a filter, and behind it perhaps a number of packets. A number behind
// `port` belongs to the filter.
struct TraceWords {
  std::string filter;
  std::string count = "1";
};
TraceWords read_trace_words(std::span<const std::string> words);

}  // namespace sluice

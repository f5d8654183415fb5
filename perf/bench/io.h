// The product's worker with I/O: it receives a looped capture, forwards, and sends into nothing.
#pragma once

#include <cstdint>
#include <string>

#include "perf/bench/measure.h"

namespace sluice::perf {

// Writes a capture of `packets` small UDP packets, one of each of `flows` flows in turn, to the
// VIP of the rig. UDP, because a looped capture cannot hold up its end of a TCP handshake.
void write_capture(const std::string& path, std::uint32_t flows, std::uint32_t packets);

// clk per packet of Worker::run() between net_pcap (infinite_rx) and net_null.
Figure measure_worker(const std::string& capture, std::uint32_t flows, int repeats, double seconds);

}  // namespace sluice::perf

// Quantities as an operator reads them: 12.3k packets, 1.50 MiB, 1m20s. Three significant digits;
// the exact digits are in --json.
// Pure functions.
#pragma once

#include <cstdint>
#include <string>

namespace sluice {

// Items: exact below 10,000, then k, M, G, T (powers of 1000): 9999, 12.3k, 1.00M.
std::string format_count(std::uint64_t count);

// Bytes: exact below 1024, then KiB, MiB, GiB, TiB, PiB: "1023 B", "1.50 MiB".
std::string format_bytes(std::uint64_t bytes);

// The two largest units: 250ms, 1.5s, 12s, 1m20s, 2h05m, 3d04h. Rounded down.
std::string format_duration(std::uint64_t milliseconds);

}  // namespace sluice

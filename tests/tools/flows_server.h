// The echoing end of `flows`: says its name, then echoes, and checks what arrives on the way.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::tools {

// Serves TCP and UDP on `port` until a signal, then prints one JSON line. Returns the exit status.
int serve_flows(const std::string& name, const std::string& address, std::uint16_t port);

}  // namespace sluice::tools

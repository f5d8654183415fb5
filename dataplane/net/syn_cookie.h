// SYN cookies: the initial sequence number of a SYN-ACK that stands for the state which we do not keep.
//
//   31 ............ 8   7        6  5 .......... 2   1  0
//   MAC (24 bits)       period   SACK  window scale   MSS
//
// MAC: SipHash-2-4 over the addresses, the ports, the client's initial sequence number, the number of the period and the
// eight low bits. Whoever guesses is right once in 2^24: one of the two periods that are accepted is told by the `period` bit,
// so that only one value fits. A cookie is accepted for at most `cookie_lifetime_ms` and at least half of it; within
// that time it may be used again as often as one likes (the replay window).
// Timestamps need no bit: the client's acknowledgment carries them if and only if they were agreed on.
// Pure; no method looks at a clock.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/base/siphash.h"
#include "dataplane/base/units.h"
#include "dataplane/net/flow_key.h"
#include "dataplane/net/tcp_options.h"

namespace sluice {

inline constexpr std::uint64_t cookie_lifetime_ms = 128'000;

// `key`: as packets of the client arrive. The MSS is rounded down to one that the cookie can hold; without one it stands
// for 536 (RFC 9293 3.7.1).
std::uint32_t make_cookie(SipKey secret, const FlowKey& key, std::uint32_t client_isn, const TcpOffer& offer, Instant now);

// What the SYN offered, timestamps not included; nothing when the cookie is not ours, or too old.
std::optional<TcpOffer> open_cookie(SipKey secret, const FlowKey& key, std::uint32_t client_isn, std::uint32_t cookie,
                                    Instant now);

}  // namespace sluice

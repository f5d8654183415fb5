// Plays an endpoint: turns a packet into its answer, in place. Keeps no state. Pure.
//
// MACs, addresses and ports change sides. A SYN becomes a SYN-ACK, a FIN a FIN-ACK that also
// acknowledges, a segment with payload a response with the same payload; a bare ACK or a RST has no
// answer. A UDP packet goes back as it is. Both checksums are kept right by their differences, so
// what was broken on arrival stays broken.
#pragma once

#include <span>

#include "dataplane/net/parse.h"

namespace sluice::perf {

// `parsed` is of this frame and has no fault. False: there is nothing to answer, the frame is as it
// was.
bool reflect(std::span<std::byte> frame, const ParsedFrame& parsed);

// The answer to "who has this address" (ARP, or a neighbour solicitation), in place: `mac` has it.
// False: no question, or about `spared`, or the asker's own (an announcement).
bool answer_neighbor(std::span<std::byte> frame, const ParsedFrame& parsed, MacAddress mac,
                     std::span<const IpAddress> spared);

// Who says here where an address is? The answer to our own question, or nothing.
struct NeighborAnswer {
  IpAddress address;
  MacAddress mac;
};
bool read_neighbor_answer(std::span<const std::byte> frame, const ParsedFrame& parsed,
                          NeighborAnswer& answer);

// Our own question. Returns the bytes of the frame; 86 are enough room.
std::uint16_t write_neighbor_question(std::byte* out, MacAddress own_mac, const IpAddress& own,
                                      const IpAddress& wanted);

}  // namespace sluice::perf

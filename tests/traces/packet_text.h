// Packets as text: what a line of a trace says, frames built from it, frames read back.
//
//   198.51.100.7:4000 > 10.9.0.1:80 tcp syn seq=100 len=5
//   10.1.0.9 > 10.9.0.1 icmp echo id=7          [fd00:1::9]:53 > [fd00:9::1]:53 udp len=20
//   10.1.0.9 > 10.9.0.1 icmp type=3 code=4 mtu=1300 about 10.9.0.1:80 > 198.51.100.7:4000 tcp ack len=1400 quote=548
//   198.51.100.7:4000 > 10.9.0.1:53 udp len=3000 fid=7 piece=0-1480      (a fragment: these bytes of the IP payload)
//   10.2.0.1 > 10.2.0.11 ipip tos=0 df=1 carrying 198.51.100.7:4000 > 10.9.0.1:80 tcp syn     (a packet in a packet; also gue)
//   10.2.0.77 > 10.2.0.1 icmp type=3 about 10.2.0.1 > 10.2.0.11 ipip quote=60 carrying 198.51.100.7:4000 > 10.9.0.1:80 tcp
//   10.1.0.9 > 10.9.0.1 proto 132               raw ffffffffffff0200...
//   arp request 10.9.0.1 tell 10.1.0.254        arp reply 10.2.0.11 is 02:00:00:00:00:0b tell 10.2.0.1
//   nd solicit fd00:9::1 tell fd00:1::fe        nd advertise fd00:2::11 is 02:00:00:00:00:0b tell fd00:2::1
//
// mark=N: of a health check to the endpoint with that id (net/probe_mark.h). TCP options: mss= ws= sackok=1 tsval= tsecr= sack=LEFT..RIGHT. Payload, instead of len=: text=WORD, bytes=HEX, or a ClientHello
// (hello_text.h): hello=NAME|none alpn=A,B grease=1 pq=1 padding=N records=N. Before it, a PROXY header:
// proxied=v1|v2,CLIENT:PORT,SERVER:PORT (tlvs=HEX behind it), unknown (of v1) or local (of v2). part=FIRST-END takes a piece of it all.
//
// Nothing here uses the product's parser or rewriter: it is what they are checked against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/result.h"
#include "dataplane/net/address.h"

namespace sluice::trace {

using Bytes = std::vector<std::byte>;

// `value` in network byte order, in its last `byte_count` bytes.
void append(Bytes& bytes, std::size_t byte_count, std::uint64_t value);
using Words = std::vector<std::string>;

// The words of a line up to a #; braces and semicolons are words.
Words words_of(const std::string& line);

struct PacketText {
  std::string kind;                            // tcp, udp, icmp, arp, nd, ipip, gue, proto, raw; empty: not an IP packet
  std::string source, source_port;             // addresses and ports may be $variables
  std::string destination, destination_port;
  std::set<std::string> flags;                 // tcp: syn ack ...; icmp: echo reply; arp: request reply; nd: ...
  std::map<std::string, std::string> options;  // key=value
  std::shared_ptr<PacketText> about;           // icmp errors: the packet quoted, of which `quote` bytes (all unless said); tunnels: the packet inside

  static Result<PacketText> parse(const Words& words);
  std::string text() const;
  std::string option(const std::string& key, const std::string& fallback = {}) const;
  std::uint64_t number(const std::string& key, std::uint64_t fallback) const;
};

// The payload that a text names; nothing when it has only a length.
std::optional<Bytes> payload_of(const PacketText& text);
std::string payload_mark(std::span<const std::byte> payload);  // how read_frame() tells payloads apart

// The frame that a text stands for. `number` makes its payload and IP identification unlike those of others.
// Lengths and checksums are right unless the options spoil them.
Result<Bytes> build_frame(const PacketText& text, MacAddress source, MacAddress destination, std::uint32_t number);

// Reads a frame; what cannot be read is left out.
PacketText read_frame(std::span<const std::byte> frame);

// What is wrong with the lengths and checksums of an emitted frame; empty when nothing is.
std::string faults_of(std::span<const std::byte> frame);

// The packet that an ICMP error quotes, as a frame of its own with an empty Ethernet header; nothing when it quotes none.
Bytes quoted_frame(std::span<const std::byte> frame);

// The packet that an IP in IP or GUE packet carries, as a frame of its own with an empty Ethernet header; nothing when there is
// none.
Bytes carried_frame(std::span<const std::byte> frame);

// What a receiver tells the datagram of a fragment by; empty for what is no fragment.
std::string datagram_name(std::span<const std::byte> frame);

// Puts fragments together. Nothing until the one that makes the datagram whole; then the frame it would have been.
class Reassembly {
 public:
  Bytes add(std::span<const std::byte> frame) { return add(datagram_name(frame), frame); }
  Bytes add(const std::string& name, std::span<const std::byte> frame);  // of the datagram with this name

 private:
  struct Pieces {
    std::map<std::size_t, Bytes> payload;  // by offset
    Bytes head;                            // the first fragment up to the payload
    std::size_t total = 0;
  };
  std::map<std::string, Pieces> pieces_;
};

// Sets all checksums of an IP frame right. UDP over IPv4 that came without one stays so.
void fix_checksums(std::span<std::byte> frame);

// Where the values of the MSS options lie in a TCP frame; more than one is odd, and possible.
std::vector<std::size_t> mss_offsets(std::span<const std::byte> frame);

std::string hex_dump(std::span<const std::byte> bytes);

}  // namespace sluice::trace

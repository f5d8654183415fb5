// What the bench holds against every frame that leaves, and against the ledger and the flows after every step.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <unordered_set>

#include "tests/traces/bed.h"
#include "tests/traces/frame_layout.h"

namespace sluice::trace {
namespace {

std::size_t end_of_packet(const Bytes& frame) { return frame[12] == std::byte{0x08} ? 14 + read(frame, 16, 2) : 54 + read(frame, 18, 2); }

// The last bytes of what an IP packet carries.
Bytes end_of(const Bytes& frame, std::size_t length) {
  const std::size_t end = end_of_packet(frame);
  return Bytes(frame.begin() + static_cast<long>(end - length), frame.begin() + static_cast<long>(end));
}

// Of an IP packet, which need not be a fragment: what stands behind its headers.
Bytes carried_by_fragment(const Bytes& frame) {
  const PacketText text = read_frame(frame);
  if (const std::string piece = text.option("piece"); !piece.empty()) return end_of(frame, std::stoul(piece.substr(piece.find('-') + 1)) - std::stoul(piece));
  const std::size_t header = (static_cast<std::size_t>(frame[14]) & 0xf) * 4;  // cut by us: of IPv4
  return end_of(frame, read(frame, 16, 2) - header);
}

std::size_t l3_bytes_of_addresses(bool is_v4) { return is_v4 ? 8 : 32; }

// An MSS may be lowered on the way, never raised: `bytes` gets those of `sent` that are lower.
void lower_mss(Bytes& bytes, const std::vector<std::size_t>& places, const Bytes& sent) {
  for (const std::size_t mss : places) {
    if (mss + 2 > sent.size() || mss + 2 > bytes.size() || read(sent, mss, 2) >= read(bytes, mss, 2)) continue;
    std::copy_n(sent.begin() + static_cast<long>(mss), 2, bytes.begin() + static_cast<long>(mss));
  }
}

// A packet of a health check as it is without its mark; other packets as they are.
Bytes without_mark(const Bytes& frame) {
  const bool is_v4 = frame.size() > 42 && frame[12] == std::byte{0x08};
  const std::size_t at = is_v4 ? 34 : 54;
  const bool has_mark = is_v4 ? frame[14] == std::byte{0x47} && frame[34] == std::byte{158}
                              : frame.size() > 62 && frame[20] == std::byte{60} && frame[56] == std::byte{0x1e};
  if (!has_mark) return frame;
  Bytes bare = frame;
  const auto length = static_cast<std::uint16_t>(read(frame, is_v4 ? 16 : 18, 2) - 8);
  bare[is_v4 ? 16 : 18] = static_cast<std::byte>(length >> 8);
  bare[is_v4 ? 17 : 19] = static_cast<std::byte>(length & 0xff);
  if (is_v4) bare[14] = std::byte{0x45};
  else bare[20] = frame[54];
  bare.erase(bare.begin() + static_cast<long>(at), bare.begin() + static_cast<long>(at + 8));
  return bare;
}

}  // namespace

void Bed::check_output(const Output& output, const Buffer* from) {
  const auto complain = [&](const std::string& what) {
    fault(fmt::format("{}\n      sent {}\n      {}{}", what, read_frame(output.frame).text(), hex_dump(output.frame),
                      from == nullptr ? "" : "\n      came in as\n      " + hex_dump(from->original)));
  };
  if (output.verdict == Verdict::punt) {
    Bytes expected = from->original;
    std::copy(kernel_mac.bytes.begin(), kernel_mac.bytes.end(), reinterpret_cast<std::uint8_t*>(expected.data()));
    if (expected != output.frame) complain("a punted packet was changed");
    return;
  }
  const std::string input_faults = from == nullptr ? "" : faults_of(from->original);
  if (const std::string faults = faults_of(output.frame); !faults.empty() && input_faults.empty()) complain(faults);
  const PacketText text = read_frame(output.frame);
  if (text.option("smac") != port_mac(output.port).text()) complain("the source MAC is not the port's");
  const std::size_t mtu = output.port == exception_port ? 1'500 : model_.ports()[output.port].mtu;
  if (output.frame.size() > mtu + 14) complain("longer than the MTU");
  const auto source = IpAddress::parse(text.source);
  const bool is_cut_tunnel = text.options.contains("piece") && source && tables_->find_address(*source).kind == AddressKind::own;
  if (from == nullptr) {
    if (is_cut_tunnel) check_cut_tunnel(output, nullptr);
    else if (text.options.contains("piece")) check_reassembled(output, nullptr);
    return;
  }

  if (output.verdict == Verdict::forward && is_cut_tunnel) {
    check_cut_tunnel(output, from);
  } else if (output.verdict == Verdict::forward && text.options.contains("piece") && from->original[12] != output.frame[12]) {
    check_exchange(output, *from);
  } else if (output.verdict == Verdict::forward && !carried_frame(quoted_frame(from->original)).empty() &&
             tables_->find_address(*IpAddress::parse(read_frame(from->original).destination)).kind == AddressKind::own) {
    check_tunnel_error(output, *from);
  } else if (output.verdict == Verdict::forward && output.is_spliced) {
    check_spliced(output, *from);
  } else if (output.verdict == Verdict::forward && !carried_frame(output.frame).empty() && carried_frame(from->original).empty()) {
    check_tunnel(output, *from);
  } else if (output.verdict == Verdict::forward) {
    if (from->original[12] != output.frame[12]) return check_exchange(output, *from);
    // All but what the rewrite is meant to change must be as it came; addresses and ports are the trace's business.
    Bytes expected = from->port == exception_port ? without_mark(from->original) : from->original;
    const bool is_routed_only = from->port == exception_port && expected == from->original;
    if (expected.size() != output.frame.size()) return complain("the frame's length changed");
    const bool is_v4 = expected[12] == std::byte{0x08};
    const std::size_t l4 = 14 + (is_v4 ? (static_cast<std::size_t>(expected[14]) & 0xf) * 4 : 40);
    const std::size_t addresses = is_v4 ? 26 : 22;
    const auto take = [&](std::size_t at, std::size_t count) {
      std::copy_n(output.frame.begin() + static_cast<long>(at), count, expected.begin() + static_cast<long>(at));
    };
    take(0, 12);
    // What our kernel sends is routed as it is, unless it is an endpoint's.
    const PacketText before = read_frame(from->original);
    const auto source = IpAddress::parse(before.source);
    const bool is_rewritten = !is_routed_only || (source && model_.is_kernel_address(*source));
    if (is_rewritten && before.options.contains("piece")) return check_fragment(output, *from);
    lower_mss(expected, mss_offsets(expected), output.frame);
    const Bytes quoted = quoted_frame(output.frame);
    if (!quoted.empty()) {
      // An ICMP error: the quoted packet changes too, and stays as true or as false as it was.
      if (faults_of(quoted_frame(from->original)).empty() && !faults_of(quoted).empty()) complain("the quoted packet: " + faults_of(quoted));
      take(l4, expected.size() - l4);
    }
    if (is_rewritten) {
      take(addresses, l3_bytes_of_addresses(is_v4));
      if (!text.source_port.empty() && text.option("ext").empty()) {
        // IPv6 extension headers move the ports; find them from the end of what both share.
        std::size_t ports = l4;
        std::uint8_t next = static_cast<std::uint8_t>(expected[is_v4 ? 23 : 20]);
        while (!is_v4 && (next == 0 || next == 43 || next == 60 || next == 44)) {
          const bool is_fragment_header = next == 44;  // its second byte is reserved, no length
          next = static_cast<std::uint8_t>(expected[ports]);
          ports += is_fragment_header ? 8 : (static_cast<std::size_t>(expected[ports + 1]) + 1) * 8;
        }
        take(ports, 4);
        if (!input_faults.empty()) take(ports + (next == 6 ? 16 : 6), 2);
      }
      std::byte& ttl = expected[is_v4 ? 22 : 21];
      ttl = static_cast<std::byte>(static_cast<std::uint8_t>(ttl) - 1);
      const Bytes with_wrong_sum = expected;
      fix_checksums(expected);
      if (!input_faults.empty()) {
        // A transport checksum that came wrong must leave wrong: only the ends may judge it.
        expected = with_wrong_sum;
        if (is_v4) take(24, 2);
        if (faults_of(output.frame).empty()) complain("a wrong checksum was made right");
      }
    }
    if (expected != output.frame) complain("other bytes changed than the rewrite may change; expected\n      " + hex_dump(expected));
  }
  if (output.verdict == Verdict::forward) {
    const auto destination = IpAddress::parse(text.destination);
    if (destination && tables_->find_address(*destination).kind == AddressKind::vip) return check_direct_hop(output);
    const auto hop = destination ? hop_to(*destination) : std::nullopt;
    if (!hop) return complain("there is no route to the destination");
    if (hop->port != output.port) complain("it left by the wrong port");
    if (!goes_to(text, *hop)) {
      complain(fmt::format("next hop {} has hardware address {}", hop->address.text(), mac_of(hop->address).text()));
    }
    return;
  }
  if (text.option("dmac") != read_frame(from->original).option("smac")) complain("it does not go back to who sent it");
  if (const Bytes quoted = quoted_frame(output.frame); !quoted.empty() && text.about) {
    // An error of our own: it quotes the beginning of the very packet.
    const std::size_t count = text.about->number("quote", 0);
    const bool is_same = 14 + count <= from->original.size() &&
                         std::equal(quoted.begin() + 14, quoted.begin() + 14 + static_cast<long>(count), from->original.begin() + 14);
    if (!is_same) complain("it quotes another packet than the one that came in");
  }
  if (output.port != from->port) complain("it does not go back by the port it came by");
}

// Between the families: the payload is as it came, all else is read by who wrote the trace.
void Bed::check_exchange(const Output& output, const Buffer& from) {
  const PacketText before = read_frame(from.original), after = read_frame(output.frame);
  if (before.number("ttl", 0) != after.number("ttl", 0) + 1) fault("time to live across families");
  if (after.options.contains("piece")) {
    check_exchanged_fragment(output, from);
  } else if (after.kind != "icmp" && (before.kind != after.kind || before.flags != after.flags ||
                                      end_of(from.original, before.number("len", 0)) != end_of(output.frame, after.number("len", 0)))) {
    fault(fmt::format("{} became {}", before.text(), after.text()));
  }
  if (const Bytes quoted = quoted_frame(output.frame); !quoted.empty() && after.about && after.about->number("quote", 0) + 14 >= quoted.size()) {
    if (!faults_of(quoted).empty()) fault("the quoted packet: " + faults_of(quoted));
  }
  const auto destination = IpAddress::parse(after.destination);
  const auto hop = destination ? hop_to(*destination) : std::nullopt;
  if (!hop || hop->port != output.port || !goes_to(after, *hop)) fault("it left by the wrong way: " + after.text());
}

// It may have been cut, but where it begins its payload is what came; and what the fragments make together is right.
void Bed::check_exchanged_fragment(const Output& output, const Buffer& from) {
  const PacketText before = read_frame(from.original), after = read_frame(output.frame);
  Bytes came = carried_by_fragment(from.original);
  const Bytes left = carried_by_fragment(output.frame);
  if (after.kind == "tcp" && !after.source_port.empty()) {
    auto places = mss_offsets(from.original);
    for (std::size_t& place : places) place -= end_of_packet(from.original) - came.size();
    lower_mss(came, places, left);
  }
  const std::size_t header = after.source_port.empty() ? 0 : after.kind == "udp" ? 8 : 20;
  const bool is_whole = came.size() == left.size() && before.option("more", "0") == after.option("more");
  const bool is_cut = left.size() < came.size() && left.size() % 8 == 0 && after.option("more") == "1";
  if (std::stoul(before.option("piece", "0")) != std::stoul(after.option("piece")) || (!is_whole && !is_cut) || left.size() < header ||
      !std::equal(left.begin() + static_cast<long>(header), left.end(), came.begin() + static_cast<long>(header))) {
    fault(fmt::format("a fragment was changed: {} became {}", before.text(), after.text()));
  }
  check_reassembled(output, &from);
}

// `from`: nothing for what we cut off another.
void Bed::check_reassembled(const Output& output, const Buffer* from) {
  bool was_right = is_all_offered_right_;
  if (from != nullptr) {
    const bool is_part = read_frame(from->original).options.contains("piece");
    // By the name it leaves under, which no other datagram has: senders may use theirs again.
    const Bytes offered = is_part ? taken_apart_.add(datagram_name(output.frame), from->original) : from->original;
    // The sender's own faults stay his.
    was_right = !offered.empty() && faults_of(offered).empty();
    is_all_offered_right_ &= was_right || offered.empty();
  }
  const Bytes whole = reassembly_.add(output.frame);
  if (!whole.empty() && was_right && !faults_of(whole).empty()) fault("fragments make a packet that is wrong: " + faults_of(whole));
}

// A fragment: all but addresses, identification, time to live and, in the first, ports and checksum is as it came; and
// what the fragments make together is right.
void Bed::check_fragment(const Output& output, const Buffer& from) {
  const PacketText before = read_frame(from.original), after = read_frame(output.frame);
  const bool is_same_place = before.option("piece") == after.option("piece") && before.option("more") == after.option("more");
  // What it carries ends where the packet does, however long the headers before it are.
  const std::string piece = before.option("piece");
  const std::size_t carried = std::stoul(piece.substr(piece.find('-') + 1)) - std::stoul(piece);
  const std::size_t begin = end_of_packet(output.frame) - carried + (after.source_port.empty() ? 0 : after.kind == "udp" ? 8 : 20);
  Bytes expected = from.original;
  if (!after.source_port.empty()) lower_mss(expected, mss_offsets(expected), output.frame);
  if (!is_same_place || expected.size() != output.frame.size() ||
      !std::equal(output.frame.begin() + static_cast<long>(begin), output.frame.end(), expected.begin() + static_cast<long>(begin))) {
    fault(fmt::format("a fragment was changed: {} became {}", before.text(), after.text()));
  }
  if (before.number("ttl", 0) != after.number("ttl", 0) + 1) fault("a fragment's time to live");
  check_reassembled(output, &from);
}

// Numbers and options of the TCP header are the trace's business; the rest must be as it came.
void Bed::check_spliced(const Output& output, const Buffer& from) {
  const PacketText before = read_frame(from.original), after = read_frame(output.frame);
  const auto complain = [&](const std::string& what) {
    fault(fmt::format("{}\n      sent {}\n      came in as {}", what, after.text(), before.text()));
  };
  if (after.flags != before.flags) complain("the TCP flags changed");
  if (after.option("payload") != before.option("payload")) complain("the payload changed");
  if (after.number("ttl", 0) + 1 != before.number("ttl", 0)) complain("the time to live is not one less");
  if (!faults_of(from.original).empty() && faults_of(output.frame).empty()) complain("a wrong checksum was made right");
}

// Direct server return in a tunnel: inside is the packet as it came, with one hop less to live and at most a smaller MSS.
void Bed::check_tunnel(const Output& output, const Buffer& from) {
  const PacketText outer = read_frame(output.frame);
  const auto complain = [&](const std::string& what) {
    fault(fmt::format("{}\n      sent {}\n      {}\n      came in as\n      {}", what, outer.text(), hex_dump(output.frame), hex_dump(from.original)));
  };
  const Bytes carried = carried_frame(output.frame);
  Bytes expected = from.port == exception_port ? without_mark(from.original) : from.original;
  const bool is_v4 = expected[12] == std::byte{0x08};
  expected.resize(is_v4 ? 14 + read(expected, 16, 2) : 54 + read(expected, 18, 2));
  std::copy_n(carried.begin(), 12, expected.begin());
  std::byte& ttl = expected[is_v4 ? 22 : 21];
  ttl = static_cast<std::byte>(static_cast<std::uint8_t>(ttl) - 1);
  for (const std::size_t mss : mss_offsets(expected)) {
    if (mss + 2 <= carried.size()) std::copy_n(carried.begin() + static_cast<long>(mss), 2, expected.begin() + static_cast<long>(mss));
  }
  if (faults_of(from.original).empty()) {
    fix_checksums(expected);
  } else if (is_v4) {  // of the transport it stays as wrong as it was
    std::copy_n(carried.begin() + 24, 2, expected.begin() + 24);
  }
  if (carried != expected) complain("the packet inside is not the one that came");

  const std::uint64_t tos = is_v4 ? static_cast<std::uint64_t>(expected[15]) : (read(expected, 14, 2) >> 4 & 0xff);
  if (outer.number("tos", 256) != tos) complain("DSCP and ECN are not the inner ones");
  if (outer.options.contains("df")) {
    const bool is_kept_whole = !is_v4 || (static_cast<unsigned>(expected[20]) & 0x40) != 0;
    if (outer.number("df", 2) != (is_kept_whole ? 1u : 0u)) complain("DF is not the inner one");
    if (!is_kept_whole && outer.option("id") == "0") complain("no identification, and it may be cut");
  } else if (outer.option("label") == "0") {
    complain("no flow label");
  }
  const auto source = IpAddress::parse(outer.source);
  const bool is_of_port = std::any_of(tables_->addresses().begin(), tables_->addresses().end(), [&](const AddressRow& row) {
    return source && row.address == *source && row.port == output.port;
  });
  if (!is_of_port) complain("the outer source is no address of the port");
  if (outer.kind == "gue" && std::stoul(outer.source_port) < 49'152) complain("the outer source port is none for flows");
}

// `from`: nothing for what we cut off another. What the fragments make together is what came, in a tunnel.
void Bed::check_cut_tunnel(const Output& output, const Buffer* from) {
  const std::string name = datagram_name(output.frame);
  if (from != nullptr && !cut_.emplace(name, *from).second) fault("two outer packets have one name: " + name);
  Output whole = output;
  whole.frame = tunnels_.add(output.frame);
  if (whole.frame.empty()) return;
  if (!cut_.contains(name)) return fault("an outer packet of nothing that came: " + name);
  const Buffer came = std::move(cut_.extract(name).mapped());
  if (const std::string faults = faults_of(whole.frame); !faults.empty() && faults_of(came.original).empty()) fault("an outer packet in fragments: " + faults);
  check_tunnel(whole, came);
}

// An error out of a tunnel: it quotes the packet inside, as the router had quoted it.
void Bed::check_tunnel_error(const Output& output, const Buffer& from) {
  const PacketText after = read_frame(output.frame);
  const Bytes quoted = quoted_frame(output.frame), inside = carried_frame(quoted_frame(from.original));
  const std::size_t count = after.about ? after.about->number("quote", 0) : 0;
  if (count < 28 || inside.size() < 14 + count || !std::equal(quoted.begin() + 14, quoted.begin() + 14 + static_cast<long>(count), inside.begin() + 14)) {
    fault("an error about a packet in a tunnel quotes another: " + after.text());
  }
}

// DSR_L2: to the hardware address of an endpoint.
void Bed::check_direct_hop(const Output& output) {
  const PacketText text = read_frame(output.frame);
  for (const EndpointRow& endpoint : tables_->endpoints()) {
    const auto hop = hop_to(endpoint.address);
    if (hop && hop->address == endpoint.address && hop->port == output.port && goes_to(text, *hop)) return;
  }
  fault("a packet with a VIP as its destination goes to no endpoint: " + text.text());
}

void Bed::check_ledger() {
  std::uint64_t received = 0, copied = 0, generated = 0, held = 0, verdicts_of_the_end = 0;
  for (const auto& world : worlds_) {
    const Counters& counters = world->counters;
    std::uint64_t verdicts = 0;
    for (std::size_t i = 0; i < verdict_count; ++i) {
      const auto verdict = static_cast<Verdict>(i);
      verdicts += counters.of(verdict).read();
      if (verdict != Verdict::hold && verdict != Verdict::handoff) verdicts_of_the_end += counters.of(verdict).read();
    }
    const std::uint64_t came = counters.received.read() + counters.handed_in.read() + counters.released.read();
    if (came != verdicts) fault(fmt::format("ledger of lcore {}: {} came in, {} have a verdict", world->lcore, came, verdicts));
    const std::uint64_t waiting = counters.of(Verdict::hold).read() - counters.released.read();
    if (waiting != world->neighbors.held_count() + world->fragments.held_count()) {
      fault(fmt::format("ledger of lcore {}: {} held by count, {} in the queue", world->lcore, waiting,
                        world->neighbors.held_count() + world->fragments.held_count()));
    }
    received += counters.received.read();
    copied += counters.copied.read();
    generated += counters.generated.read();
    held += world->neighbors.held_count() + world->fragments.held_count();
  }
  if (total(Verdict::undecided) != 0) fault("ledger: packets were counted as undecided");
  if (received + copied != verdicts_of_the_end + held) {
    fault(fmt::format("ledger: received {} + copied {}, ended {} + held {}", received, copied, verdicts_of_the_end, held));
  }
  std::uint64_t rejected = 0;
  for (std::size_t i = 0; i < verdict_count; ++i) {
    if (is_reject(static_cast<Verdict>(i))) rejected += total(static_cast<Verdict>(i));
  }
  const std::uint64_t to_send = total(Verdict::forward) + total(Verdict::reply) + rejected + total(Verdict::punt) + generated;
  if (to_send != sent_) fault(fmt::format("ledger: {} to be sent, {} sent", to_send, sent_));
  if (held_.size() != held) fault(fmt::format("{} buffers are kept for {} held packets", held_.size(), held));
}

// What the lcores count together, of VIPs and endpoints with a limit, is what each counts.
void Bed::check_limited() {
  for (const VipRow& vip : tables_->vips()) {
    std::uint64_t count = 0;
    for (const auto& world : worlds_) count += world->counters.vips[vip.id].flows_active.read();
    const VipLimitsRow* limits = tables_->limits_of(vip);
    const bool is_limited = limits != nullptr && limits->flows_max != 0;
    if (shared_limits_->vips[vip.id].flows.read() != (is_limited ? count : 0)) fault("the flows of a VIP with a limit are miscounted");
  }
  for (const EndpointRow& endpoint : tables_->endpoints()) {
    std::uint64_t count = 0;
    for (const auto& world : worlds_) count += world->counters.endpoints[endpoint.id].flows_active.read();
    const bool is_limited = tables_->clusters()[endpoint.cluster].endpoint_flows_max != 0;
    if (shared_limits_->endpoints[endpoint.id].read() != (is_limited ? count : 0)) fault("the flows of an endpoint with a limit are miscounted");
  }
}

void Bed::check_flows() {
  std::unordered_set<std::string> tuples;
  check_limited();
  for (const auto& world : worlds_) {
    std::uint64_t count = 0, active_of_vips = 0, active_of_endpoints = 0;
    std::map<std::uint32_t, std::uint64_t> half_open;
    for (const FlowRecord& record : world->flows.records()) {
      if (record.state == FlowState::unused) continue;
      ++count;
      if (is_half_open(record)) ++half_open[record.vip_id];
      if (!is_sealed(record)) fault("a live flow record does not pass its seal");
      for (const Direction direction : {Direction::to_endpoint, Direction::to_client}) {
        if (direction == Direction::to_client && is_one_sided(record)) continue;
        const FlowKey key = arriving_key(record, direction);
        const std::string text = fmt::format("{} > {} /{}", address_port_text(key.source, key.source_port),
                                             address_port_text(key.destination, key.destination_port), key.protocol);
        const bool is_shared = lcores_may_share_clients && direction == Direction::to_endpoint;
        if (!tuples.insert(is_shared ? fmt::format("{} on lcore {}", text, world->lcore) : text).second) fault(fmt::format("two live flows share the five-tuple {}", text));
        if (world->flows.find(key, world->flows.hash(key)).record != &record) fault(fmt::format("{} is not in the index", text));
      }
    }
    for (const VipRow& vip : tables_->vips()) {
      active_of_vips += world->counters.vips[vip.id].flows_active.read();
      if (world->counters.vips[vip.id].half_open.read() != half_open[vip.id]) fault("half-open connections are miscounted");
    }
    for (const EndpointRow& row : tables_->endpoints()) active_of_endpoints += world->counters.endpoints[row.id].flows_active.read();
    if (count != world->flows.count()) fault(fmt::format("lcore {}: {} flows counted, {} in the records", world->lcore, world->flows.count(), count));
    // Flows of what was removed stay until the sweep meets them.
    if (active_of_vips > count || active_of_endpoints > count) fault("more flows active by VIP or endpoint than there are");
  }
}

std::vector<std::string> Bed::take_faults() { return std::exchange(faults_, {}); }

}  // namespace sluice::trace

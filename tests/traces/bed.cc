#include "tests/traces/bed.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <unordered_set>

#include "dataplane/pipeline/take_over.h"

namespace sluice::trace {
namespace {

constexpr std::uint64_t step_ms = 25;
constexpr MacAddress kernel_mac{{0x02, 0, 0, 0, 0, 0xee}};

std::size_t read_number(const Bytes& frame, std::size_t at) {
  return static_cast<std::size_t>(frame[at]) << 8 | static_cast<std::size_t>(frame[at + 1]);
}

// The last bytes of what an IP packet carries.
Bytes end_of(const Bytes& frame, std::size_t length) {
  const std::size_t end = frame[12] == std::byte{0x08} ? 14 + read_number(frame, 16) : 54 + read_number(frame, 18);
  return Bytes(frame.begin() + static_cast<long>(end - length), frame.begin() + static_cast<long>(end));
}

// Of an IP packet, which need not be a fragment: what stands behind its headers.
Bytes carried_by_fragment(const Bytes& frame) {
  const PacketText text = read_frame(frame);
  if (const std::string piece = text.option("piece"); !piece.empty()) return end_of(frame, std::stoul(piece.substr(piece.find('-') + 1)) - std::stoul(piece));
  const std::size_t header = (static_cast<std::size_t>(frame[14]) & 0xf) * 4;  // cut by us: of IPv4
  return end_of(frame, read_number(frame, 16) - header);
}

std::size_t l3_bytes_of_addresses(bool is_v4) { return is_v4 ? 8 : 32; }

// A packet of a health check as it is without its mark; other packets as they are.
Bytes without_mark(const Bytes& frame) {
  const bool is_v4 = frame.size() > 42 && frame[12] == std::byte{0x08};
  const std::size_t at = is_v4 ? 34 : 54;
  const bool has_mark = is_v4 ? frame[14] == std::byte{0x47} && frame[34] == std::byte{158}
                              : frame.size() > 62 && frame[20] == std::byte{60} && frame[56] == std::byte{0x1e};
  if (!has_mark) return frame;
  Bytes bare = frame;
  const auto length = static_cast<std::uint16_t>(read_number(frame, is_v4 ? 16 : 18) - 8);
  bare[is_v4 ? 16 : 18] = static_cast<std::byte>(length >> 8);
  bare[is_v4 ? 17 : 19] = static_cast<std::byte>(length & 0xff);
  if (is_v4) bare[14] = std::byte{0x45};
  else bare[20] = frame[54];
  bare.erase(bare.begin() + static_cast<long>(at), bare.begin() + static_cast<long>(at + 8));
  return bare;
}

// Nothing: the frame has no tag.
std::optional<std::uint16_t> tag_of(const Bytes& frame) {
  if (frame.size() < 18 || read_number(frame, 12) != 0x8100) return std::nullopt;
  return static_cast<std::uint16_t>(read_number(frame, 14));
}

Bytes without_tag(Bytes frame) {
  if (tag_of(frame)) frame.erase(frame.begin() + 12, frame.begin() + 16);
  return frame;
}

Bytes with_tag(Bytes frame, std::uint16_t vlan) {
  const std::byte tag[] = {std::byte{0x81}, std::byte{0}, static_cast<std::byte>(vlan >> 8), static_cast<std::byte>(vlan)};
  if (frame.size() < 12) return frame;  // no place for it
  frame.insert(frame.begin() + 12, std::begin(tag), std::end(tag));
  return frame;
}

}  // namespace

Result<std::unique_ptr<Bed>> Bed::create(const Model& model) {
  std::unique_ptr<Bed> bed(new Bed(model));
  bed->records_.resize(model.lcore_count);
  for (auto& records : bed->records_) {
    records.resize(std::max<std::uint64_t>(1, model.flow_capacity / model.lcore_count));
  }
  bed->splices_.resize(model.lcore_count);
  for (auto& splices : bed->splices_) splices.resize(model.splice_capacity / model.lcore_count);
  bed->make_worlds(false);
  if (auto published = bed->publish(model); !published) return tl::unexpected(published.error());
  return bed;
}

Bed::~Bed() = default;

void Bed::make_worlds(bool is_restart) {
  const auto lcore_count = static_cast<std::uint32_t>(records_.size());
  ReplyHash hash{Toeplitz(std::vector<std::uint8_t>(toeplitz_key_bytes_min, 0x5b)), {}, true, true, true, true};
  for (std::uint32_t bucket = 0; bucket < 128; ++bucket) hash.lcore_of_bucket.push_back(static_cast<std::uint8_t>(bucket % lcore_count));
  const auto by_hash = std::make_shared<const ReplyOwner>(lcore_count, std::move(hash));
  worlds_.clear();
  rings_.clear();
  rings_.resize(records_.size());
  for (std::uint32_t lcore = 0; lcore < records_.size(); ++lcore) {
    const HashSecret secret{0x9e3779b97f4a7c15ull + is_restart, 0xc2b2ae3d27d4eb4full};
    worlds_.push_back(std::make_unique<World>(Conntrack(std::span(records_[lcore]), secret), lcore,
                                              static_cast<std::uint32_t>(records_.size())));
    World& world = *worlds_.back();
    world.now = world.swept = world.neighbors_checked = now_;
    if (model_.replies_by_hash) world.replies = by_hash;
    world.snat_ports = SnatPorts(7 + lcore);
    world.exception_mac = kernel_mac;
    world.cookie_secret = {0x5bd1e9955bd1e995ull + is_restart, 77};
    world.splices = Splices(std::span(splices_[lcore]));
    world.pending_checked = now_;
  }
}

Result<void> Bed::publish(const Model& model) {
  auto buffer = model.compile();
  if (!buffer) return tl::unexpected(buffer.error());
  buffers_of_tables_.push_back(std::make_unique<SnapshotBuffer>(std::move(*buffer)));
  auto snapshot = Snapshot::verify(std::as_const(*buffers_of_tables_.back()).bytes());
  if (!snapshot) return tl::unexpected(snapshot.error());
  tables_ = std::make_unique<Snapshot>(*snapshot);
  model_ = model;
  hops_.clear();
  for (auto& world : worlds_) {
    world->tables = tables_.get();
    for (std::uint16_t port = 0; port < model.ports().size(); ++port) {
      world->ports[port] = {port_mac(port), model.ports()[port].mtu, model.ports()[port].vlan, wire_of(port), true};
    }
    world->has_exception_port = model.has_exception_port;
    world->ports[exception_port] = {exception_gateway_mac, 1'500, 0, exception_port, model.has_exception_port};
    adopt_snapshot(*world);
  }
  return {};
}

void Bed::restart() {
  held_.clear();
  make_worlds(true);
  sent_ = 0;
  if (auto published = publish(Model(model_)); !published) fault(published.error().message);
  take_over(*tables_, worlds_, true, {});
}

MacAddress Bed::port_mac(std::uint16_t port) const {
  if (port == exception_port) return exception_gateway_mac;
  return {{0x02, 0, 0, 0, 0x01, static_cast<std::uint8_t>(wire_of(port) + 1)}};
}

std::uint16_t Bed::wire_of(std::uint16_t port) const {
  const auto& ports = model_.ports();
  if (port >= ports.size() || ports[port].vlan == 0) return port;
  const auto parent = std::find_if(ports.begin(), ports.end(), [&](const PortModel& one) { return one.name == ports[port].parent; });
  return static_cast<std::uint16_t>(parent - ports.begin());
}

// A frame of a sub-interface gets its tag here, unless the trace has given it another; whose it is then, the tag says.
std::unique_ptr<Bed::Buffer> Bed::received(const Input& input) const {
  auto buffer = std::make_unique<Buffer>();
  const std::uint16_t vlan = input.port < model_.ports().size() ? model_.ports()[input.port].vlan : std::uint16_t{0};
  const Bytes frame = vlan != 0 && !tag_of(input.frame) ? with_tag(input.frame, vlan) : input.frame;
  buffer->bytes = with_headroom(frame);
  buffer->original = without_tag(frame);
  buffer->port = input.port;
  for (std::uint16_t i = 0; i < model_.ports().size(); ++i) {
    const PortModel& port = model_.ports()[i];
    if (port.vlan != 0 && tag_of(frame) == port.vlan && wire_of(i) == wire_of(input.port)) buffer->port = i;
  }
  return buffer;
}

MacAddress Bed::mac_of(IpAddress address) const {
  if (const auto told = macs_.find(address.text()); told != macs_.end()) return told->second;
  if (model_.is_kernel_address(address)) return kernel_mac;
  const auto bytes = address.bytes();
  return {{0x02, static_cast<std::uint8_t>(address.is_v4() ? 4 : 6), bytes[12], bytes[13], bytes[14], bytes[15]}};
}

std::uint16_t Bed::port_for(IpAddress source) const {
  const auto hop = model_.hop_to(source);
  return hop ? hop->port : std::uint16_t{0};
}

std::optional<Model::Hop> Bed::hop_to(IpAddress destination) {
  const auto [known, is_new] = hops_.try_emplace(destination);
  if (is_new) known->second = model_.hop_to(destination);
  return known->second;
}

bool Bed::goes_to(const PacketText& text, const Model::Hop& hop) const {
  const std::string mac = text.option("dmac");
  if (mac == mac_of(hop.address).text()) return true;
  return neighbors_may_move && std::any_of(worlds_.begin(), worlds_.end(), [&](const auto& world) {
    const std::uint16_t index = world->neighbors.find(hop.address, hop.port);
    return index != no_neighbor && world->neighbors[index].mac.text() == mac;
  });
}

void Bed::teach(IpAddress address) {
  const auto hop = hop_to(address);
  if (!hop || hop->port == exception_port) return;
  for (auto& world : worlds_) {
    if (world->neighbors.find(hop->address, hop->port) != no_neighbor) continue;
    if (world->neighbors.find_or_add(hop->address, hop->port, now_) == no_neighbor) continue;
    world->neighbors.learn(hop->address, hop->port, mac_of(hop->address), now_);
  }
}

void Bed::teach_neighbors(std::span<const Input> inputs) {
  if (!model_.answers_for_neighbors) return;
  for (const EndpointRow& endpoint : tables_->endpoints()) teach(endpoint.address);
  if (!teaches_sources) return;
  for (const Input& input : inputs) {
    const PacketText text = read_frame(input.frame);
    if (const auto source = IpAddress::parse(text.source)) teach(*source);
    if (input.port != exception_port) continue;
    if (const auto destination = IpAddress::parse(text.destination)) teach(*destination);
  }
}

std::vector<Fate> Bed::receive(std::uint32_t lcore, std::span<const Input> inputs) {
  teach_neighbors(inputs);
  fates_.assign(inputs.size(), {});
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    buffers.push_back(received(inputs[i]));
    Buffer& buffer = *buffers.back();
    buffer.fate = i;
    buffer.has_fate = true;
  }
  worlds_[lcore]->counters.received.add(inputs.size());
  run(lcore, std::move(buffers));
  drain_rings();
  check_ledger();
  std::vector<Fate> fates = std::move(fates_);
  fates_.clear();
  while (!questions_.empty()) {
    const Output question = std::move(questions_.front());
    questions_.pop_front();
    answer_for_network(question);
  }
  return fates;
}

Bytes Bed::with_headroom(const Bytes& frame) {
  Bytes bytes(headroom_bytes + frame.size());
  std::copy(frame.begin(), frame.end(), bytes.begin() + headroom_bytes);
  return bytes;
}

void Bed::run(std::uint32_t lcore, std::vector<std::unique_ptr<Buffer>> buffers) {
  World& world = *worlds_[lcore];
  world.now = now_;
  Burst burst;
  for (auto& buffer : buffers) {
    Packet& packet = burst.add();
    packet.data = buffer->bytes.data() + buffer->begin;
    packet.bytes = static_cast<std::uint16_t>(buffer->bytes.size() - buffer->begin);
    packet.headroom = static_cast<std::uint16_t>(buffer->begin);
    packet.port = wire_of(buffer->port);
    packet.hops = buffer->hops;
    packet.is_resumed = std::exchange(buffer->is_resumed, false);
    packet.handle = buffer.release();
  }
  process_burst(world, burst);
  maintain(world);
  settle(world, burst);
}

void Bed::settle(World& world, Burst& burst) {
  for (Packet& packet : burst.all()) {
    auto* buffer = static_cast<Buffer*>(packet.handle);
    if (packet.verdict == Verdict::undecided) fault("a packet left the pipeline undecided");
    if (buffer->has_fate) fates_[buffer->fate].push_back(packet.verdict);
    if (!packet.is_shared || packet.verdict == Verdict::reply) continue;
    for (std::uint32_t other = 0; other < worlds_.size(); ++other) {
      if (other == world.lcore) continue;
      auto copy = std::make_unique<Buffer>();
      copy->original = Bytes(packet.data, packet.data + packet.bytes);
      copy->bytes = with_headroom(copy->original);
      copy->original = without_tag(std::move(copy->original));
      copy->port = packet.port;
      copy->hops = static_cast<std::uint8_t>(packet.hops + 1);
      rings_[other].push_back(std::move(copy));
      world.counters.copied.add(1);
    }
  }
  // A packet may be held and released in one burst: first those that are held now.
  std::vector<std::unique_ptr<Buffer>> owned(burst.count);
  for (std::uint32_t i = 0; i < burst.count; ++i) {
    const Packet& packet = burst.packets[i];
    owned[i].reset(static_cast<Buffer*>(packet.handle));
    owned[i]->begin = static_cast<std::size_t>(packet.data - owned[i]->bytes.data());
    owned[i]->is_spliced = packet.flow != nullptr && (packet.flow->flags & flow_flag::is_spliced) != 0;
    if (packet.verdict == Verdict::hold) held_.push_back(std::move(owned[i]));
  }
  for (ReleasedPacket& released : world.released.items()) {
    const auto found = std::find_if(held_.begin(), held_.end(), [&](const auto& held) { return held.get() == released.handle; });
    if (found == held_.end()) {
      fault("a packet was released that nobody held");
      continue;
    }
    world.counters.of(released.verdict).add(1);
    if (is_sent(released.verdict)) {
      const std::byte* first = (*found)->bytes.data() + (*found)->begin;
      Bytes frame(first, first + released.bytes);
      emit({std::move(frame), released.tx_port, released.verdict, (*found)->is_spliced}, found->get());
    }
    held_.erase(found);
  }
  world.counters.released.add(world.released.items().size());
  world.released.clear();

  for (std::uint32_t i = 0; i < burst.count; ++i) {
    Packet& packet = burst.packets[i];
    if (is_sent(packet.verdict) || packet.verdict == Verdict::punt) {
      Bytes frame(packet.data, packet.data + packet.bytes);
      emit({std::move(frame), packet.verdict == Verdict::punt ? exception_port : packet.tx_port, packet.verdict,
            owned[i]->is_spliced},
           owned[i].get());
    } else if (packet.verdict == Verdict::handoff) {
      if (packet.target_lcore == world.lcore || packet.target_lcore >= worlds_.size()) {
        fault(fmt::format("lcore {} hands a packet to lcore {}", world.lcore, packet.target_lcore));
        continue;
      }
      owned[i]->hops = static_cast<std::uint8_t>(packet.hops + 1);
      rings_[packet.target_lcore].push_back(std::move(owned[i]));
    }
  }
  for (const GeneratedFrame& frame : world.generated.items()) {
    world.counters.generated.add(1);
    Bytes bytes(frame.data.begin(), frame.data.begin() + frame.bytes);
    bytes.insert(bytes.end(), frame.tail.begin(), frame.tail.end());
    emit({std::move(bytes), frame.tx_port, Verdict::undecided}, nullptr);
  }
  world.generated.clear();
  count_verdicts(world, burst);
}

// Fragments whose first has come, as the worker takes them before its next burst.
bool Bed::resume_fragments(std::uint32_t lcore) {
  World& world = *worlds_[lcore];
  std::vector<std::unique_ptr<Buffer>> buffers;
  HeldFragment held;
  while (buffers.size() < burst_count_max && world.fragments.take_ready(held)) {
    const auto found = std::find_if(held_.begin(), held_.end(), [&](const auto& one) { return one.get() == held.handle; });
    buffers.push_back(std::move(*found));
    held_.erase(found);
    buffers.back()->is_resumed = true;
    buffers.back()->has_fate = false;  // `hold` was the verdict of the step in which it came
    world.counters.released.add(1);
  }
  if (buffers.empty()) return false;
  run(lcore, std::move(buffers));
  return true;
}

void Bed::drain_rings() {
  for (int round = 0;; ++round) {
    bool was_empty = true;
    for (std::uint32_t lcore = 0; lcore < worlds_.size(); ++lcore) {
      if (resume_fragments(lcore)) was_empty = false;
      std::vector<std::unique_ptr<Buffer>> buffers;
      while (!rings_[lcore].empty() && buffers.size() < burst_count_max) {
        buffers.push_back(std::move(rings_[lcore].front()));
        rings_[lcore].pop_front();
      }
      if (buffers.empty()) continue;
      was_empty = false;
      worlds_[lcore]->counters.handed_in.add(buffers.size());
      run(lcore, std::move(buffers));
    }
    if (was_empty) return;
    if (round > 64) {
      fault("packets go round between the lcores");
      for (auto& ring : rings_) ring.clear();
      return;
    }
  }
}

void Bed::take_tag_off(Output& output) {
  const std::uint16_t vlan = output.port == exception_port ? std::uint16_t{0} : model_.ports()[output.port].vlan;
  const auto tag = tag_of(output.frame);
  // What goes back with the tag of a priority it came with is none the worse.
  if (tag.value_or(0) != vlan) fault(fmt::format("sent with VLAN tag {}, the port has {}", tag.value_or(0), vlan));
  if (tag && vlan == 0 && output.verdict == Verdict::forward) fault("sent with a tag by a port without");
  output.frame = without_tag(std::move(output.frame));
}

void Bed::emit(Output output, const Buffer* from) {
  ++sent_;
  take_tag_off(output);
  if (checks_outputs || from == nullptr) check_output(output, from);
  const bool is_question = from == nullptr && model_.answers_for_neighbors;
  if (is_question) {
    const PacketText text = read_frame(output.frame);
    const bool asks = (text.flags.contains("request") && text.option("sender") != text.option("target")) ||
                      text.flags.contains("solicit");
    if (asks) {
      questions_.push_back(std::move(output));
      return;
    }
  }
  outputs.push_back(std::move(output));
}

bool Bed::answer_for_network(const Output& output) {
  const PacketText asked = read_frame(output.frame);
  const auto target = IpAddress::parse(asked.option("target"));
  if (!target) return false;
  PacketText answer;
  answer.kind = asked.kind;
  answer.flags.insert(asked.kind == "arp" ? "reply" : "advertise");
  const bool is_arp = asked.kind == "arp";
  answer.options[is_arp ? "sender" : "target"] = asked.option("target");
  answer.options[is_arp ? "target" : "sender"] = asked.option("sender");
  const auto frame = build_frame(answer, mac_of(*target), port_mac(output.port), 0);
  if (frame) receive(0, Input{*frame, output.port});
  return frame.has_value();
}

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
  if (from == nullptr) {
    if (text.options.contains("piece")) check_reassembled(output, nullptr);
    return;
  }

  if (output.verdict == Verdict::forward && text.options.contains("piece") && from->original[12] != output.frame[12]) {
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
    for (const std::size_t mss : mss_offsets(expected)) {
      if (read_number(output.frame, mss) < read_number(expected, mss)) take(mss, 2);  // lowered, never raised
    }
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

Result<void> Bed::watch(std::string_view filter, std::uint16_t snap_bytes) {
  watches_.clear();
  for (auto& world : worlds_) {
    auto parsed = PacketFilter::parse(filter, *tables_);
    if (!parsed) return tl::unexpected(parsed.error());
    WatchJob job;
    job.id = 1;
    job.filter = std::move(*parsed);
    job.count_max = UINT64_MAX;
    job.snap_bytes = snap_bytes;
    watches_.push_back(std::make_unique<Watch>(std::vector<WatchJob>{job}));
    world->watch = watches_.back().get();
  }
  return {};
}

std::vector<Bed::Seen> Bed::take_seen() {
  std::vector<Seen> seen;
  for (auto& watch : watches_) {
    watch->drain(SIZE_MAX, [&](const WatchEntry& entry, std::span<const std::byte> received,
                               std::span<const std::byte> sent) {
      seen.push_back({entry, {received.begin(), received.end()}, {sent.begin(), sent.end()}});
    });
  }
  return seen;
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
  const Bytes came = carried_by_fragment(from.original), left = carried_by_fragment(output.frame);
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
  const bool is_v4 = output.frame[12] == std::byte{0x08};
  const bool is_same_place = before.option("piece") == after.option("piece") && before.option("more") == after.option("more");
  // What it carries ends where the packet does, however long the headers before it are.
  const std::string piece = before.option("piece");
  const std::size_t carried = std::stoul(piece.substr(piece.find('-') + 1)) - std::stoul(piece);
  const std::size_t end = is_v4 ? 14 + read_number(output.frame, 16) : 54 + read_number(output.frame, 18);
  const std::size_t begin = end - carried + (after.source_port.empty() ? 0 : after.kind == "udp" ? 8 : 20);
  if (!is_same_place || from.original.size() != output.frame.size() ||
      !std::equal(output.frame.begin() + static_cast<long>(begin), output.frame.end(), from.original.begin() + static_cast<long>(begin))) {
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
  expected.resize(is_v4 ? 14 + read_number(expected, 16) : 54 + read_number(expected, 18));
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

  const std::uint64_t tos = is_v4 ? static_cast<std::uint64_t>(expected[15]) : (read_number(expected, 14) >> 4 & 0xff);
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

void Bed::step(std::uint64_t ms) {
  now_ = now_ + Milliseconds{ms};
  for (std::uint32_t lcore = 0; lcore < worlds_.size(); ++lcore) run(lcore, {});
  while (!questions_.empty()) {
    const Output question = std::move(questions_.front());
    questions_.pop_front();
    answer_for_network(question);
  }
}

void Bed::advance(std::uint64_t ms) {
  for (; ms > step_ms; ms -= step_ms) step(step_ms);
  leap(ms);
}

void Bed::leap(std::uint64_t ms) {
  step(ms);
  drain_rings();
  check_ledger();
  if (checks_flows_often) check_flows();
}

void Bed::announce_all() {
  const auto addresses = tables_->local_addresses();
  std::size_t cursor = 0;
  for (int tries = 0; tries < 10'000; ++tries) {
    const bool is_done = announce(*worlds_[0], cursor, addresses);
    run(0, {});
    if (is_done) return;
  }
  fault("announcing does not end");
}

std::uint64_t Bed::total(Verdict verdict) const {
  std::uint64_t sum = 0;
  for (const auto& world : worlds_) sum += world->counters.of(verdict).read();
  return sum;
}

std::uint64_t Bed::flow_count() const {
  std::uint64_t sum = 0;
  for (const auto& world : worlds_) sum += world->flows.count();
  return sum;
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

void Bed::check_flows() {
  std::unordered_set<std::string> tuples;
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

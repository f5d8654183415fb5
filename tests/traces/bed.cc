#include "tests/traces/bed.h"

#include <fmt/core.h>

#include <algorithm>

#include "dataplane/pipeline/take_over.h"
#include "tests/traces/frame_layout.h"

namespace sluice::trace {
namespace {

constexpr std::uint64_t step_ms = 25;

// Nothing: the frame has no tag.
std::optional<std::uint16_t> tag_of(const Bytes& frame) {
  if (frame.size() < 18 || read(frame, 12, 2) != 0x8100) return std::nullopt;
  return static_cast<std::uint16_t>(read(frame, 14, 2));
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
  for (auto& splices : bed->splices_) {
    splices.resize(model.splice_capacity / model.lcore_count);
    bed->named_clients_.emplace_back(splices.size());
  }
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
  shared_limits_ = std::make_unique<SharedLimits>(HashSecret{0xff51afd7ed558ccdull + is_restart, 0xc4ceb9fe1a85ec53ull});
  rings_.clear();
  rings_.resize(records_.size());
  for (std::uint32_t lcore = 0; lcore < records_.size(); ++lcore) {
    const HashSecret secret{0x9e3779b97f4a7c15ull + is_restart, 0xc2b2ae3d27d4eb4full};
    worlds_.push_back(std::make_unique<World>(Conntrack(std::span(records_[lcore]), secret), lcore, lcore_count, *shared_limits_));
    World& world = *worlds_.back();
    world.now = world.swept = world.neighbors_checked = now_;
    if (model_.replies_by_hash) world.replies = by_hash;
    world.snat_ports = SnatPorts(7 + lcore);
    world.exception_mac = kernel_mac;
    world.cookie_secret = {0x5bd1e9955bd1e995ull + is_restart, 77};
    world.splices = Splices(std::span(splices_[lcore]), std::span(named_clients_[lcore]));
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
  take_over(*tables_, worlds_, true, {});
  if (auto published = publish(Model(model_)); !published) fault(published.error().message);
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

void Bed::leave(bool is_leaving) {
  for (const auto& world : worlds_) world->is_leaving = is_leaving;
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

}  // namespace sluice::trace

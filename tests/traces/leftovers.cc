#include "tests/traces/leftovers.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "dataplane/base/crc32c.h"
#include "dataplane/pipeline/process_burst.h"
#include "dataplane/pipeline/stages.h"
#include "dataplane/pipeline/take_over.h"
#include "tests/traces/script.h"

namespace sluice::trace {
namespace {

constexpr FlowFileShape left_shape{32, 2, 8};
constexpr FlowFileShape next_shapes[] = {left_shape, {64, 2, 8}, {32, 1, 8}, {32, 4, 16}, {32, 2, 2}, {3, 1, 1}};
constexpr std::size_t header_bytes = 40, header_crc_at = 36, records_at = 4'096;
constexpr Instant now{2'000'000};
// Of the spliced flows: not two alike.
const IpAddress named_client = *IpAddress::parse("2001:db8:9::9");
Be16 named_port(const FlowRecord& record) { return be16(static_cast<std::uint16_t>(record.ports[0].remote.host() + 711)); }

constexpr std::size_t left_bytes() {
  return records_at + left_shape.capacity * sizeof(FlowRecord) + left_shape.splice_capacity * (sizeof(SpliceRecord) + sizeof(NamedClient));
}

std::string text_of(const FlowKey& key) {
  return fmt::format("{} > {} /{}", address_port_text(key.source, key.source_port),
                     address_port_text(key.destination, key.destination_port), key.protocol);
}

// Addresses, and all behind them: what of a frame must be the same today and tomorrow. Before them stand the hardware
// addresses, and what is new in each outer header.
std::span<const std::byte> lasting_part(const Bytes& frame) {
  return std::span(frame).subspan(frame[12] == std::byte{0x08} ? 26 : 22);
}

void seal_header(std::span<std::uint8_t> image) {
  std::uint32_t crc = 0;
  std::memcpy(&image[header_crc_at], &crc, sizeof crc);
  crc = crc32c(std::as_bytes(image.first(header_bytes)));
  std::memcpy(&image[header_crc_at], &crc, sizeof crc);
}

constexpr std::size_t record_place(std::size_t index) { return records_at + index * sizeof(FlowRecord); }
constexpr std::size_t splice_place(std::size_t index) { return record_place(left_shape.capacity) + index * sizeof(SpliceRecord); }

constexpr std::size_t client_place(std::size_t index) { return splice_place(left_shape.splice_capacity) + index * sizeof(NamedClient); }

template <class Record>
Record record_at(std::span<const std::uint8_t> image, std::size_t place) {
  Record record;
  std::memcpy(&record, &image[place], sizeof record);
  return record;
}

template <class Record>
void put(std::span<std::uint8_t> image, std::size_t place, const Record& record) {
  std::memcpy(&image[place], &record, sizeof record);
}

// As write_record() would have: the rest of the record is taken for what was meant.
void seal_record(FlowRecord& record) {
  FlowRecord again;
  FlowOpening opening;
  opening.from_client = arriving_key(record, Direction::to_endpoint);
  opening.to_endpoint = leaving_key(record, Direction::to_endpoint);
  opening.is_snat = (record.flags & flow_flag::is_snat) != 0;
  opening.is_spliced = (record.flags & flow_flag::is_spliced) != 0;
  opening.dsr = record.dsr;
  opening.tunnel_port = record.tunnel_port;
  opening.vip_id = record.vip_id;
  opening.endpoint_id = record.endpoint_id;
  opening.idle_timeout_ms = record.idle_timeout_ms;
  opening.client_isn = record.client_isn;
  opening.state = record.state;
  write_record(again, opening, record.last_seen);
  record = again;
}

template <class Record>
void swap_records(std::span<std::uint8_t> image, std::size_t one, std::size_t other) {
  const auto kept = record_at<Record>(image, one);
  put(image, one, record_at<Record>(image, other));
  put(image, other, kept);
}

}  // namespace

Result<std::unique_ptr<Leftovers>> Leftovers::create(std::string path) {
  std::unique_ptr<Leftovers> left(new Leftovers());
  left->path_ = std::move(path);
  if (auto lived = left->live(); !lived) return tl::unexpected(lived.error());
  const std::string unharmed = left->damage_and_take_over({});
  if (!unharmed.empty()) return fail("leftovers: before any damage: " + unharmed);
  if (left->outcome().taken_over != left->flow_count()) return fail("leftovers: before any damage not all is taken over");
  left->named_count_ = left->outcome().named;
  if (left->named_count_ == 0) return fail("leftovers: before any damage no client is named");
  return left;
}

Leftovers::~Leftovers() { unlink(path_.c_str()); }

Bytes Leftovers::frame_of(const PacketText& text, std::uint16_t port) {
  const auto source = IpAddress::parse(text.source);
  const auto gateway = IpAddress::parse(source->is_v4() ? "10.1.0.254" : "fd00:1::fe");
  auto frame = build_frame(text, bed_->mac_of(port == 0 ? *gateway : *source), bed_->port_mac(port), 7);
  return frame ? std::move(*frame) : Bytes();
}

std::optional<Output> Leftovers::send(std::uint32_t lcore, const PacketText& text, std::uint16_t port) {
  bed_->outputs.clear();
  bed_->receive(lcore, {frame_of(text, port), port});
  if (bed_->outputs.empty()) return std::nullopt;
  return bed_->outputs.back();
}

// What both sides say from then on, again and again.
Result<void> Leftovers::say_more(PacketText client, PacketText endpoint, std::uint32_t lcore) {
  LeftFlow flow;
  const auto to_endpoint = send(lcore, client, 0);
  if (!to_endpoint) return fail("leftovers: not forwarded: " + client.text());
  flow.to_vip = frame_of(client, 0);
  flow.at_endpoint = to_endpoint->frame;
  if (!endpoint.source.empty()) {
    const auto to_client = send(lcore, endpoint, 1);
    if (!to_client) return fail("leftovers: not forwarded: " + endpoint.text());
    flow.to_us = frame_of(endpoint, 1);
    flow.at_client = to_client->frame;
  }
  flow.from_client = {*IpAddress::parse(client.source), *IpAddress::parse(client.destination),
                      be16(static_cast<std::uint16_t>(std::stoul(client.source_port))),
                      be16(static_cast<std::uint16_t>(std::stoul(client.destination_port))),
                      static_cast<std::uint8_t>(client.kind == "tcp" ? 6 : 17)};
  for (std::uint32_t i = 0; i < bed_->lcore_count(); ++i) {
    World& world = bed_->world(i);
    const FlowMatch match = world.flows.find(flow.from_client, world.flows.hash(flow.from_client));
    if (match.record != nullptr) flow.to_endpoint = leaving_key(*match.record, Direction::to_endpoint);
  }
  flows_.push_back(std::move(flow));
  return {};
}

Result<void> Leftovers::add_flow(const std::string& client, const std::string& vip, const std::string& protocol, std::uint32_t lcore) {
  const bool is_tcp = protocol == "tcp";
  auto asks = PacketText::parse(words_of(client + " > " + vip + " " + protocol + (is_tcp ? " syn seq=1000" : " len=30")));
  const auto opened = send(lcore, *asks, 0);
  if (!opened) return fail("leftovers: no flow: " + asks->text());
  PacketText answers;
  const PacketText there = read_frame(opened->frame);
  const bool is_direct = there.about != nullptr || there.destination == asks->destination;
  if (!is_direct) {
    answers.kind = protocol;
    answers.source = there.destination;
    answers.source_port = there.destination_port;
    answers.destination = there.source;
    answers.destination_port = there.source_port;
    if (is_tcp) answers.flags = {"syn", "ack"};
    if (!send(lcore, answers, 1)) return fail("leftovers: no answer: " + answers.text());
    answers.options["len"] = "50";
    answers.options["seq"] = "5001";
  }
  asks->options["len"] = "60";
  asks->options["seq"] = "1001";
  if (is_tcp) answers.flags = asks->flags = {"ack"};
  return say_more(*asks, answers, lcore);
}

Result<void> Leftovers::add_splice(const std::string& client, std::uint32_t lcore) {
  const std::string start = client + " > 10.9.0.1:443 tcp ";
  const auto parse = [](const std::string& text) { return *PacketText::parse(words_of(text)); };
  const auto greeted = send(lcore, parse(start + "syn seq=100 mss=1460 sackok=1 tsval=7000 tsecr=0 ws=8"), 0);
  if (!greeted) return fail("leftovers: no cookie");
  const PacketText cookie = read_frame(greeted->frame);
  const std::uint64_t isn = cookie.number("seq", 0);
  const auto called = send(lcore, parse(fmt::format("{}ack seq=101 ack={} tsval=7001 tsecr={}", start, isn + 1, cookie.option("tsval"))), 0);
  if (!called) return fail("leftovers: the endpoint is not called");
  const PacketText there = read_frame(called->frame);
  World& world = bed_->world(lcore);
  for (const FlowRecord& record : world.flows.records()) {
    if ((record.flags & flow_flag::is_spliced) != 0) world.splices.name_client(record, named_client, named_port(record));
  }
  const std::string back = fmt::format("{}:{} > {}:{} tcp ", there.destination, there.destination_port, there.source, there.source_port);
  send(lcore, parse(back + "syn ack seq=900 ack=101 mss=1460 sackok=1 tsval=50 tsecr=7001 ws=9"), 1);
  return say_more(parse(fmt::format("{}ack psh seq=101 ack={} tsval=7002 tsecr={} text=question", start, isn + 1, cookie.option("tsval"))),
                  parse(back + "ack psh seq=901 ack=101 tsval=60 tsecr=7001 win=100 text=answer"), lcore);
}

Result<void> Leftovers::live() {
  Model model;
  for (const char* line :
       {"lcores 2", "flows 32", "splices 8", "cluster web { endpoint 10.2.0.11:8080; }", "cluster web6 { endpoint [fd00:2::11]:8080; }",
        "cluster dns { endpoint 10.2.0.12:53; }", "cluster direct { endpoint 10.2.0.14:80; forwarding nat; }",
        "cluster l2 { endpoint 10.2.0.15:80; forwarding dsr_l2; }", "cluster ipip { endpoint 10.2.0.16:80; forwarding dsr_ipip; }",
        "cluster gue { endpoint [fd00:2::17]:80; forwarding dsr_gue; }", "cluster tls { endpoint 10.2.0.18:8443; forwarding splice; }",
        "vip 10.9.0.1:80/tcp { cluster web; }", "vip [fd00:9::1]:80/tcp { cluster web6; }", "vip 10.9.0.1:53/udp { cluster dns; }",
        "vip 10.9.0.2:80/tcp { cluster direct; }", "vip 10.9.0.3:80/tcp { cluster l2; }", "vip 10.9.0.4:80/tcp { cluster ipip; }",
        "vip [fd00:9::5]:80/tcp { cluster gue; }", "vip [fd00:9::6]:80/tcp { cluster web; }", "vip 10.9.0.1:443/tcp { cluster tls; }"}) {
    if (auto changed = model.change(words_of(line)); !changed) return changed;
  }
  auto bed = Bed::create(model);
  if (!bed) return tl::unexpected(bed.error());
  bed_ = std::move(*bed);
  for (const std::uint32_t lcore : {0u, 1u}) {
    const std::string number = std::to_string(lcore + 1), port = std::to_string(4'000 + lcore);
    const std::string v4 = "203.0.113." + number + ":" + port, v6 = "[2001:db8:5::" + number + "]:" + port;
    for (const auto& [client, vip, protocol] : std::vector<std::tuple<std::string, std::string, std::string>>{
             {v4, "10.9.0.1:80", "tcp"}, {v6, "[fd00:9::1]:80", "tcp"}, {v4, "10.9.0.1:53", "udp"}, {v4, "10.9.0.2:80", "tcp"},
             {v4, "10.9.0.3:80", "tcp"}, {v4, "10.9.0.4:80", "tcp"}, {v6, "[fd00:9::5]:80", "tcp"}, {v6, "[fd00:9::6]:80", "tcp"}}) {
      if (auto added = add_flow(client, vip, protocol, lcore); !added) return added;
    }
    if (auto added = add_splice(v4, lcore); !added) return added;
  }
  if (const auto faults = bed_->take_faults(); !faults.empty()) return fail("leftovers: " + faults.front());

  unlink(path_.c_str());
  auto file = FlowFile::open(path_, left_shape);
  if (!file) return tl::unexpected(file.error());
  for (std::uint32_t lcore = 0; lcore < left_shape.lcore_count; ++lcore) {
    const auto records = bed_->world(lcore).flows.records();
    std::copy(records.begin(), records.end(), file->records_of(lcore).begin());
    const Splices& splices = bed_->world(lcore).splices;
    for (std::uint32_t slot = 0; slot < file->splices_of(lcore).size(); ++slot) file->splices_of(lcore)[slot] = splices[slot];
    for (const FlowRecord& record : records) {
      if (const auto client = splices.named_client_of(record)) file->named_clients_of(lcore)[record.splice_slot] = *client;
    }
  }
  image_.resize(left_bytes());
  const Fd fd(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (pread(fd.get(), image_.data(), image_.size(), 0) != static_cast<ssize_t>(image_.size())) return fail("leftovers: " + path_ + " cannot be read");
  return {};
}

std::vector<std::unique_ptr<World>>& Leftovers::worlds_for(std::uint32_t lcore_count) {
  worlds_.resize(std::max<std::size_t>(worlds_.size(), lcore_count + 1));
  shared_limits_.resize(worlds_.size());
  if (!shared_limits_[lcore_count]) shared_limits_[lcore_count] = std::make_unique<SharedLimits>(HashSecret{5, 6});
  auto& worlds = worlds_[lcore_count];
  while (worlds.size() < lcore_count) {
    worlds.push_back(std::make_unique<World>(Conntrack(nothing_, {1, 2}), static_cast<std::uint32_t>(worlds.size()), lcore_count, *shared_limits_[lcore_count]));
    World& world = *worlds.back();
    world.tables = &bed_->tables();
    world.ports = bed_->world(0).ports;
    world.now = world.swept = world.neighbors_checked = world.pending_checked = now;
    adopt_snapshot(world);
    const auto teach = [&](IpAddress address, std::uint16_t port) {
      world.neighbors.find_or_add(address, port, now);
      world.neighbors.learn(address, port, bed_->mac_of(address), now);
    };
    for (const EndpointRow& endpoint : bed_->tables().endpoints()) teach(endpoint.address, 1);
    for (const char* gateway : {"10.1.0.254", "fd00:1::fe"}) teach(*IpAddress::parse(gateway), 0);
  }
  return worlds;
}

std::vector<std::uint8_t> Leftovers::damaged(std::span<const std::uint8_t> bytes) {
  Script script(bytes);
  std::vector<std::uint8_t> image = image_;
  const auto record = [&] { return record_place(script.byte() % left_shape.capacity); };
  const auto client = [&] { return client_place(script.byte() % left_shape.splice_capacity); };
  const auto splice = [&] { return splice_place(script.byte() % left_shape.splice_capacity); };
  while (!script.is_over() && image.size() >= left_bytes()) {
    switch (script.byte() % 15) {
      case 0: {
        const std::size_t at = script.below(image.size());
        image[at] = static_cast<std::uint8_t>(image[at] ^ 1u << script.byte() % 8);
        break;
      }
      case 1: image[script.below(image.size())] = static_cast<std::uint8_t>(script.byte()); break;
      case 2: {  // a line that was not written, or written by somebody else
        const std::size_t at = script.below(image.size() - 64) & ~std::size_t{63};
        std::memset(&image[at], static_cast<int>(script.byte()), 64);
        break;
      }
      case 3: put(image, record(), record_at<FlowRecord>(image, record())); break;
      case 4: swap_records<FlowRecord>(image, record(), record()); break;
      case 5: swap_records<SpliceRecord>(image, splice(), splice()); break;
      case 6: put(image, splice(), record_at<SpliceRecord>(image, splice())); break;
      case 7: image[record() + script.byte() % sizeof(FlowRecord)] = static_cast<std::uint8_t>(script.byte()); break;
      case 8: image[splice() + script.byte() % sizeof(SpliceRecord)] = static_cast<std::uint8_t>(script.byte()); break;
      case 9: image.resize(script.below(2 * image.size())); break;  // cut or lengthened: the last step
      case 10: {
        image[script.byte() % header_bytes] = static_cast<std::uint8_t>(script.byte());
        seal_header(image);
        outcome_.is_forged = true;
        break;
      }
      case 11: {
        const std::size_t place = record();
        auto forged = record_at<FlowRecord>(image, place);
        if (forged.state > FlowState::ended || forged.dsr > Dsr::gue) break;
        seal_record(forged);
        put(image, place, forged);
        outcome_.is_forged = true;
        break;
      }
      case 12: {
        const std::size_t place = splice();
        auto forged = record_at<SpliceRecord>(image, place);
        forged.check = seal_of(forged, record_at<FlowRecord>(image, record()).check);
        put(image, place, forged);
        outcome_.is_forged = true;
        break;
      }
      case 13: swap_records<NamedClient>(image, client(), client()); break;
      case 14: image[client() + script.byte() % sizeof(NamedClient)] = static_cast<std::uint8_t>(script.byte()); break;
    }
  }
  return image;
}

std::string Leftovers::damage_and_take_over(std::span<const std::uint8_t> script) {
  outcome_ = {};
  const FlowFileShape shape = next_shapes[script.empty() ? 0 : script[0] % std::size(next_shapes)];
  const auto image = damaged(script.empty() ? script : script.subspan(1));
  {
    const Fd fd(open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (pwrite(fd.get(), image.data(), image.size(), 0) != static_cast<ssize_t>(image.size())) return path_ + " cannot be written";
    // A file is as long as whole pages are: the dataplane never leaves another.
    if (image.size() == left_bytes() && ftruncate(fd.get(), static_cast<off_t>((left_bytes() + 4'095) / 4'096 * 4'096)) != 0) return path_ + " cannot be lengthened";
  }
  auto file = FlowFile::open(path_, shape);
  if (!file) return "the next process has no file: " + file.error().message;
  outcome_.is_begun_anew = !file->fresh_reason().empty();

  auto& worlds = worlds_for(shape.lcore_count);
  for (std::uint32_t lcore = 0; lcore < shape.lcore_count; ++lcore) {
    worlds[lcore]->flows = Conntrack(file->records_of(lcore), {now.ms, lcore});
    worlds[lcore]->splices = Splices(file->splices_of(lcore), file->named_clients_of(lcore));
  }
  outcome_.taken_over = take_over(bed_->tables(), worlds, file->is_adoptable(), file->take_leftovers());
  std::string fault = check_records(worlds);
  if (fault.empty()) fault = check_traffic(worlds);
  if (fault.empty()) fault = check_end(worlds);
  for (auto& world : worlds) {  // the file goes
    world->flows = Conntrack(nothing_, {1, 2});
    world->splices = Splices();
  }
  return fault;
}

std::string Leftovers::check_records(std::span<const std::unique_ptr<World>> worlds) {
  const Snapshot& tables = bed_->tables();
  std::set<std::string> replies;
  std::uint64_t count = 0;
  for (const auto& world : worlds) {
    std::set<std::uint32_t> slots;
    std::uint64_t own = 0;
    for (const FlowRecord& record : world->flows.records()) {
      if (record.state == FlowState::unused) continue;
      ++own;
      const FlowKey client = arriving_key(record, Direction::to_endpoint), reply = arriving_key(record, Direction::to_client);
      const std::string name = text_of(client);
      if (!is_sealed(record)) return name + ": taken over without a check that holds";
      if (!is_known(tables, record, tables.vip_by_id(record.vip_id), tables.endpoint_by_id(record.endpoint_id))) return name + ": its VIP or endpoint is not configured";
      if (world->flows.find(client, world->flows.hash(client)).record != &record) return name + ": not found by its client";
      if (!is_one_sided(record)) {
        if (world->flows.find(reply, world->flows.hash(reply)).record != &record) return name + ": not found by its reply";
        if (!replies.insert(text_of(reply)).second) return name + ": two flows have the reply " + text_of(reply);
      }
      if ((record.flags & flow_flag::is_spliced) != 0) {
        if (record.splice_slot >= world->splices.capacity() || !slots.insert(record.splice_slot).second) return name + ": its splice is another's";
        if (!is_sealed(world->splices[record.splice_slot], record.check)) return name + ": its splice is damaged";
        const auto named = world->splices.named_client_of(record);
        if (named && (named->address != named_client || named->port != named_port(record))) {
          return name + ": named is " + address_port_text(named->address, named->port);
        }
        outcome_.named += named.has_value();
      }
      const bool was_there = std::any_of(flows_.begin(), flows_.end(), [&](const LeftFlow& left) {
        return left.from_client == client && left.to_endpoint == leaving_key(record, Direction::to_endpoint);
      });
      if (!was_there && !outcome_.is_forged) return name + ": there was no such flow";
    }
    if (own != world->flows.count()) return "flows are miscounted";
    if (slots.size() != world->splices.count()) return "splices are miscounted";
    count += own;
  }
  if (count != outcome_.taken_over) return "flows taken over are miscounted";
  return {};
}

std::string Leftovers::check_traffic(std::span<const std::unique_ptr<World>> worlds) {
  struct Passed {
    Verdict verdict = Verdict::undecided;
    Bytes frame;
  };
  constexpr std::size_t headroom = 128;
  const auto pass = [&](const Bytes& frame, std::uint16_t port, std::size_t first_lcore) {
    Bytes bytes(headroom + frame.size());
    std::copy(frame.begin(), frame.end(), bytes.begin() + headroom);
    std::size_t lcore = first_lcore;
    for (std::uint8_t hops = 0;; ++hops) {
      Burst burst;
      Packet& packet = burst.add();
      packet.data = bytes.data() + headroom;
      packet.bytes = static_cast<std::uint16_t>(frame.size());
      packet.headroom = headroom;
      packet.port = port;
      packet.hops = hops;
      World& world = *worlds[lcore];
      process_burst(world, burst);
      count_verdicts(world, burst);
      world.generated.clear();
      world.released.clear();
      if (packet.verdict != Verdict::handoff || hops > 3) return Passed{packet.verdict, Bytes(packet.data, packet.data + packet.bytes)};
      lcore = packet.target_lcore;
    }
  };
  for (std::size_t i = 0; i < flows_.size(); ++i) {
    const LeftFlow& flow = flows_[i];
    // The client's packets come where they came before; of a datagram on another lcore that opens another flow.
    const auto owner = std::find_if(worlds.begin(), worlds.end(), [&](const auto& world) { return world->flows.contains(flow.from_client); });
    const bool is_kept = owner != worlds.end();
    const std::size_t arrives_at = is_kept ? (*owner)->lcore : i % worlds.size();
    for (const bool is_reply : {false, true}) {
      const Bytes& frame = is_reply ? flow.to_us : flow.to_vip;
      const Bytes& expected = is_reply ? flow.at_client : flow.at_endpoint;
      if (frame.empty()) continue;
      // A datagram whose flow is lost opens another, which may get the port of any that is lost.
      if (!is_kept && !is_reply && flow.from_client.protocol == 17) continue;
      const Passed passed = pass(frame, is_reply ? 1 : 0, is_reply ? i % worlds.size() : arrives_at);
      if (passed.verdict == Verdict::hold || passed.verdict == Verdict::handoff) return text_of(flow.from_client) + ": " + std::string(name_of(passed.verdict));
      if (outcome_.is_forged || passed.verdict != Verdict::forward) continue;
      if (!is_kept || !std::ranges::equal(lasting_part(passed.frame), lasting_part(expected))) {
        return fmt::format("{}: {} came out as {}", text_of(flow.from_client), read_frame(frame).text(), read_frame(passed.frame).text());
      }
    }
  }
  return {};
}

std::string Leftovers::check_end(std::span<const std::unique_ptr<World>> worlds) {
  for (const auto& world : worlds) {
    world->flows.sweep(static_cast<std::uint32_t>(world->flows.capacity()), [](const FlowRecord&) { return true; },
                       [&](FlowRecord& record) { close_flow(*world, record); });
    if (world->flows.count() != 0 || world->splices.count() != 0) return "what was taken over cannot be forgotten";
    for (const VipRow& vip : bed_->tables().vips()) {
      const VipCounters& counters = world->counters.vips[vip.id];
      if (counters.flows_active.read() != 0) return "active flows of a VIP are miscounted";
      if (counters.half_open.read() != 0) return "half-open connections are miscounted";
    }
    for (const EndpointRow& endpoint : bed_->tables().endpoints()) {
      if (world->counters.endpoints[endpoint.id].flows_active.read() != 0) return "active flows of an endpoint are miscounted";
    }
  }
  return {};
}

}  // namespace sluice::trace

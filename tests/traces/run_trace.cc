#include "tests/traces/run_trace.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fstream>
#include <sstream>

#include "dataplane/pipeline/walk.h"
#include "tests/traces/bed.h"

namespace sluice::trace {
namespace {

// "4000+" stands for 4000 + i.
std::string counted(const std::string& word, std::uint64_t i) {
  std::string out;
  for (std::size_t at = 0; at < word.size(); ++at) {
    if (word[at] == '+') {
      std::size_t first = out.size();
      while (first > 0 && std::isdigit(static_cast<unsigned char>(out[first - 1]))) --first;
      if (first < out.size()) {
        out = out.substr(0, first) + std::to_string(std::stoull(out.substr(first)) + i);
        continue;
      }
    }
    out += word[at];
  }
  return out;
}

class Run {
 public:
  // Each takes the words after the keyword; an error says what was expected and what was found.
  Result<void> statement(const std::string& keyword, Words words) {
    if (keyword == "out") return out(words);
    if (keyword == "verdict") return verdict(words);
    if (keyword == "count") return count(words);
    if (keyword == "walk") return walk(words);
    if (keyword == "named") return named(words);
    if (keyword == "discard") {
      if (bed_ != nullptr) bed_->outputs.clear();
      needs_verdict_ = false;
      return {};
    }
    if (auto clean = nothing_left(); !clean) return clean;
    if (keyword == "config" || keyword == "set") return change(words);
    if (keyword == "in") return in(words);
    if (keyword == "burst") return burst(words);
    if (keyword == "many") return many(words);
    if (keyword == "wait") return wait(words);
    if (auto ready = start(); !ready) return ready;
    if (keyword == "watch") return bed_->watch(fmt::format("{}", fmt::join(words, " ")));
    if (keyword == "restart") {
      bed_->restart();
    } else if (keyword == "announce") {
      bed_->announce_all();
    } else if (keyword == "leave" || keyword == "stay") {
      bed_->leave(keyword == "leave");
    } else {
      return fail(fmt::format("'{}' is no statement of a trace", keyword));
    }
    return faults();
  }

  Result<void> end() {
    if (burst_left_ > 0) return fail("the trace ends inside a burst");
    return nothing_left();
  }

 private:
  Result<void> start() {
    if (bed_ != nullptr) return {};
    auto bed = Bed::create(model_);
    if (!bed) return tl::unexpected(bed.error());
    bed_ = std::move(*bed);
    return {};
  }

  Result<void> faults() {
    const auto found = bed_->take_faults();
    if (found.empty()) return {};
    return fail(found.front());
  }

  // Whatever came out must be named before the trace goes on.
  Result<void> nothing_left() {
    if (bed_ == nullptr) return {};
    if (!bed_->outputs.empty()) {
      const Output& output = bed_->outputs.front();
      return fail(fmt::format("expected nothing more, got by port {}: {}", port_name(output.port), read_frame(output.frame).text()));
    }
    if (needs_verdict_) {
      needs_verdict_ = false;
      return fail(fmt::format("nothing came out, and the trace does not say why; the verdict is {}", fate_text()));
    }
    return {};
  }

  std::string port_name(std::uint16_t port) const {
    return port == exception_port ? "kernel" : model_.ports()[port].name;
  }
  std::optional<std::uint16_t> port_named(const std::string& name) const {
    if (name == "kernel") return exception_port;
    for (std::uint16_t i = 0; i < model_.ports().size(); ++i) {
      if (model_.ports()[i].name == name) return i;
    }
    return std::nullopt;
  }

  std::string fate_text() const {
    std::vector<std::string> names;
    if (fates_.size() == 1) {
      for (const Verdict verdict : fates_[0]) names.emplace_back(name_of(verdict));
    } else {
      for (const Fate& fate : fates_) names.emplace_back(name_of(fate.back()));
    }
    return fmt::format("{}", fmt::join(names, " "));
  }

  Result<void> change(const Words& words) {
    if (auto changed = model_.change(words); !changed) return changed;
    if (bed_ == nullptr) return {};
    if (auto published = bed_->publish(model_); !published) return published;
    return faults();
  }

  // "$x", or "$x+5" and "$x-5" modulo 2^32; "$x..$y" each by itself.
  std::string resolved(const std::string& word) const {
    if (word.empty() || word[0] != '$') return word;
    if (const std::size_t dots = word.find(".."); dots != std::string::npos) {
      return resolved(word.substr(0, dots)) + ".." + resolved(word.substr(dots + 2));
    }
    const std::size_t sign = word.find_first_of("+-", 1);
    const auto found = variables_.find(word.substr(0, sign));
    if (found == variables_.end()) return word;
    if (sign == std::string::npos) return found->second;
    const auto base = static_cast<std::uint32_t>(std::stoull(found->second));
    const auto more = static_cast<std::uint32_t>(std::stoull(word.substr(sign + 1)));
    return std::to_string(static_cast<std::uint32_t>(word[sign] == '+' ? base + more : base - more));
  }

  Result<Input> input_of(Words words, std::uint32_t& lcore) {
    for (std::string& word : words) {
      const std::size_t equals = word.find('=');
      if (equals != std::string::npos && equals + 1 < word.size() && word[equals + 1] == '$') {
        word = word.substr(0, equals + 1) + resolved(word.substr(equals + 1));
      }
    }
    auto text = PacketText::parse(words);
    if (!text) return tl::unexpected(text.error());
    for (PacketText* each = &*text; each != nullptr; each = each->about.get()) {
      for (std::string* part : {&each->source, &each->source_port, &each->destination, &each->destination_port}) {
        *part = resolved(*part);
      }
    }
    lcore = static_cast<std::uint32_t>(text->number("lcore", 0));
    if (lcore >= bed_->lcore_count()) return fail(fmt::format("there is no lcore {}", lcore));
    Input input;
    const bool is_reply = text->flags.contains("reply") || text->flags.contains("advertise");
    const std::string from = text->kind == "arp" ? text->option("sender")
                             : text->kind == "nd" ? text->option(is_reply ? "target" : "sender")
                                                  : text->source;
    const auto source = IpAddress::parse(from);
    if (text->options.contains("port")) {
      const auto port = port_named(text->option("port"));
      if (!port) return fail(fmt::format("there is no port '{}'", text->option("port")));
      input.port = *port;
    } else if (source) {
      input.port = bed_->port_for(*source);
    }
    const auto hop = source ? model_.hop_to(*source) : std::nullopt;
    if ((text->kind == "arp" || text->kind == "nd") && source && text->options.contains("mac")) {
      bed_->set_mac(*source, *MacAddress::parse(text->option("mac")));
    }
    const MacAddress source_mac = bed_->mac_of(hop ? hop->address : source.value_or(IpAddress{}));
    auto frame = build_frame(*text, source_mac, bed_->port_mac(input.port), ++number_);
    if (!frame) return tl::unexpected(frame.error());
    input.frame = std::move(*frame);
    return input;
  }

  Result<void> process(std::uint32_t lcore, const std::vector<Input>& inputs) {
    fates_ = bed_->receive(lcore, inputs);
    needs_verdict_ = bed_->outputs.empty();
    return faults();
  }

  Result<void> in(const Words& words) {
    if (auto ready = start(); !ready) return ready;
    std::uint32_t lcore = 0;
    auto input = input_of(words, lcore);
    if (!input) return tl::unexpected(input.error());
    if (burst_left_ == 0) return process(lcore, {*input});
    burst_.push_back(std::move(*input));
    if (--burst_left_ > 0) return {};
    return process(lcore, std::exchange(burst_, {}));
  }

  Result<void> burst(const Words& words) {
    burst_left_ = words.empty() ? 0 : std::stoul(words[0]);
    if (burst_left_ == 0 || burst_left_ > burst_count_max) return fail("burst: 1 to 32 packets");
    return {};
  }

  Result<void> many(const Words& words) {
    if (auto ready = start(); !ready) return ready;
    const std::uint64_t times = words.empty() ? 0 : std::stoull(words[0]);
    for (std::uint64_t i = 0; i < times; ++i) {
      Words each;
      for (std::size_t w = 1; w < words.size(); ++w) each.push_back(counted(words[w], i));
      std::uint32_t lcore = 0;
      auto input = input_of(each, lcore);
      if (!input) return tl::unexpected(input.error());
      if (auto done = process(lcore, {*input}); !done) return done;
      bed_->outputs.clear();
    }
    needs_verdict_ = false;
    return {};
  }

  Result<void> wait(const Words& words) {
    if (auto ready = start(); !ready) return ready;
    const auto ms = words.empty() ? std::nullopt : parse_duration_ms(words[0]);
    if (!ms) return fail("wait: a duration is needed, as in 31s");
    bed_->advance(*ms);
    return faults();
  }

  // $names are bound when first seen.
  bool matches(const std::string& expected, const std::string& actual) {
    if (expected.empty() || expected == "*") return true;
    if (expected[0] == '$' && expected.find_first_of("+-.") == std::string::npos) {
      return variables_.try_emplace(expected, actual).first->second == actual;
    }
    if (expected[0] == '$') return resolved(expected) == actual;
    if (const auto a = IpAddress::parse(expected), b = IpAddress::parse(actual); a && b) return *a == *b;
    if (expected.starts_with("0x") && actual.starts_with("0x")) return std::stoull(expected, nullptr, 16) == std::stoull(actual, nullptr, 16);
    return expected == actual;
  }

  bool is_as_expected(const PacketText& expected, const PacketText& actual) {
    bool is_same = expected.kind == actual.kind && matches(expected.source, actual.source) &&
                   matches(expected.destination, actual.destination) && matches(expected.source_port, actual.source_port) &&
                   matches(expected.destination_port, actual.destination_port) && expected.flags == actual.flags;
    for (const auto& [key, value] : expected.options) is_same = is_same && matches(value, actual.option(key));
    if (!is_same || !expected.about) return is_same;
    return actual.about && is_as_expected(*expected.about, *actual.about);
  }

  Result<void> out(const Words& words) {
    auto expected = PacketText::parse(words);
    if (!expected) return tl::unexpected(expected.error());
    if (const auto payload = payload_of(*expected)) {
      for (const char* key : {"hello", "alpn", "grease", "pq", "padding", "records", "text", "bytes", "part", "proxied", "tlvs"}) expected->options.erase(key);
      expected->options["payload"] = payload_mark(*payload);
    }
    needs_verdict_ = false;
    if (bed_ == nullptr || bed_->outputs.empty()) {
      return fail(fmt::format("expected {}, got nothing{}", expected->text(), fates_.empty() ? "" : "; the verdict is " + fate_text()));
    }
    const Output output = std::move(bed_->outputs.front());
    bed_->outputs.pop_front();
    PacketText actual = read_frame(output.frame);
    actual.options["port"] = port_name(output.port);
    if (is_as_expected(*expected, actual)) return {};
    for (const char* noise : {"smac", "win"}) {
      if (!expected->options.contains(noise)) actual.options.erase(noise);
    }
    return fail(fmt::format("expected {}\n      got      {}", expected->text(), actual.text()));
  }

  // walk STAGE... VERDICT: the one packet that the watch has seen since the last time; `walk nothing`.
  Result<void> walk(const Words& words) {
    std::vector<std::string> walks;
    for (const Bed::Seen& seen : bed_ != nullptr ? bed_->take_seen() : std::vector<Bed::Seen>()) {
      std::string text;
      for (const WalkStep& step : walk_of(seen.entry)) text += fmt::format("{} ", step.stage);
      walks.push_back(text + std::string(name_of(seen.entry.verdict)));
    }
    const std::string expected = fmt::format("{}", fmt::join(words, " "));
    const std::string actual = walks.empty() ? "nothing" : fmt::format("{}", fmt::join(walks, " / "));
    if (actual == expected) return {};
    return fail(fmt::format("expected walk {}\n      got      {}", expected, actual));
  }

  // named CLIENT NAMED|nobody
  Result<void> named(const Words& words) {
    if (words.size() != 2 || bed_ == nullptr) return fail("named: the client of a flow is needed, and whom the PROXY header names");
    std::string actual = "no such flow";
    for (std::uint32_t lcore = 0; lcore < bed_->lcore_count(); ++lcore) {
      const World& world = bed_->world(lcore);
      for (const FlowRecord& record : world.flows.records()) {
        const FlowKey key = arriving_key(record, Direction::to_endpoint);
        if (record.state == FlowState::unused || address_port_text(key.source, key.source_port) != words[0]) continue;
        const auto client = world.splices.named_client_of(record);
        actual = client ? address_port_text(client->address, client->port) : "nobody";
      }
    }
    if (actual != words[1]) return fail(fmt::format("expected {}, got {}", words[1], actual));
    return {};
  }

  Result<void> verdict(const Words& words) {
    needs_verdict_ = false;
    const std::string expected = fmt::format("{}", fmt::join(words, " "));
    if (expected == fate_text()) return {};
    return fail(fmt::format("expected verdict {}, got {}", expected, fate_text()));
  }

  // count NAME N | count flows [lcore N] N | count vip TEXT FIELD N | count endpoint TEXT FIELD N
  Result<void> count(const Words& words) {
    if (auto ready = start(); !ready) return ready;
    if (words.size() < 2) return fail("count: a name and a number are needed");
    const std::uint64_t expected = std::stoull(words.back());
    std::optional<std::uint64_t> actual;
    if (words[0] == "flows") {
      actual = words.size() == 4 ? bed_->world(static_cast<std::uint32_t>(std::stoul(words[2]))).flows.count() : bed_->flow_count();
    } else if (const auto event = of_splices(words[0])) {
      actual = event;
    } else if (words[0] == "vip" && words.size() == 4) {
      actual = of_vip(words[1], words[2]);
    } else if (words[0] == "endpoint" && words.size() == 4) {
      actual = of_endpoint(words[1], words[2]);
    } else {
      for (std::size_t i = 0; i < verdict_count; ++i) {
        if (name_of(static_cast<Verdict>(i)) == words[0]) actual = bed_->total(static_cast<Verdict>(i));
      }
    }
    if (!actual) return fail(fmt::format("count: there is no '{}'", fmt::join(words, " ")));
    if (*actual != expected) return fail(fmt::format("expected {} {}, got {}", words[0], expected, *actual));
    return {};
  }

  // splice.EVENT, splices, pending, held_memory
  std::optional<std::uint64_t> of_splices(const std::string& name) {
    std::optional<std::uint64_t> sum;
    for (std::uint32_t lcore = 0; lcore < bed_->lcore_count(); ++lcore) {
      const World& world = bed_->world(lcore);
      std::map<std::string, std::uint64_t> values = {{"splices", world.splices.count()}, {"pending", world.pending.count()},
                                                     {"held_memory", world.pending.held_memory_bytes()}};
#define SLUICE_SPLICE_VALUE(event, help) values["splice." #event] = world.counters.splice.event.read();
      SLUICE_SPLICE_EVENTS(SLUICE_SPLICE_VALUE)
#undef SLUICE_SPLICE_VALUE
      if (values.contains(name)) sum = sum.value_or(0) + values[name];
    }
    return sum;
  }

  std::optional<std::uint64_t> of_vip(const std::string& text, const std::string& field) {
    const VipModel* vip = model_.vip(text);
    if (vip == nullptr) return std::nullopt;
    std::uint64_t sum = 0;
    for (std::uint32_t lcore = 0; lcore < bed_->lcore_count(); ++lcore) {
      const VipCounters& row = bed_->vip_counters(lcore, vip->id);
      const std::map<std::string, const Counter*> fields = {
          {"flows_opened", &row.flows_opened}, {"flows_active", &row.flows_active}, {"rx_packets", &row.rx_packets},
          {"rx_bytes", &row.rx_bytes},         {"tx_packets", &row.tx_packets},     {"tx_bytes", &row.tx_bytes},
          {"dropped", &row.dropped},           {"half_open", &row.half_open},
          {"cookies_on", &bed_->world(lcore).counters.cookies[vip->id].is_on},
          {"cookies_turned_on", &bed_->world(lcore).counters.cookies[vip->id].turned_on},
          {"flows_by_connection_id", &bed_->world(lcore).counters.flows_by_connection_id[vip->id]}};
      if (!fields.contains(field)) return std::nullopt;
      sum += fields.at(field)->read();
    }
    return sum;
  }

  std::optional<std::uint64_t> of_endpoint(const std::string& text, const std::string& field) {
    const EndpointModel* endpoint = model_.endpoint(text);
    if (endpoint == nullptr) return std::nullopt;
    std::uint64_t sum = 0;
    for (std::uint32_t lcore = 0; lcore < bed_->lcore_count(); ++lcore) {
      const EndpointCounters& row = bed_->endpoint_counters(lcore, endpoint->id);
      const std::map<std::string, const Counter*> fields = {
          {"flows_opened", &row.flows_opened}, {"flows_active", &row.flows_active}, {"to_packets", &row.to_packets},
          {"to_bytes", &row.to_bytes},         {"from_packets", &row.from_packets}, {"from_bytes", &row.from_bytes}};
      if (!fields.contains(field)) return std::nullopt;
      sum += fields.at(field)->read();
    }
    return sum;
  }

  Model model_;
  std::unique_ptr<Bed> bed_;
  std::vector<Fate> fates_;
  std::vector<Input> burst_;
  std::size_t burst_left_ = 0;
  std::map<std::string, std::string> variables_;
  std::uint32_t number_ = 0;
  bool needs_verdict_ = false;
};

}  // namespace

std::string run_trace(const std::string& path) {
  std::ifstream file(path);
  if (!file) return fmt::format("{}: cannot be read", path);
  Run run;
  std::string line;
  int number = 0;
  const auto failed = [&](const std::string& what) { return fmt::format("{}:{}: {}\n      {}", path, number, what, line); };
  while (std::getline(file, line)) {
    ++number;
    if (number == 1 && !line.starts_with("# ")) return failed("the first line must say in one sentence what is shown");
    Words words = words_of(line);
    if (words.empty()) continue;
    const std::string keyword = words.front();
    words.erase(words.begin());
    if (auto done = run.statement(keyword, std::move(words)); !done) return failed(done.error().message);
  }
  line = "(end of file)";
  if (auto done = run.end(); !done) return failed(done.error().message);
  return {};
}

}  // namespace sluice::trace

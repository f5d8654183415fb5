#include "dataplane/pipeline/packet_filter.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace sluice {
namespace {

constexpr std::string_view terms_help =
    "any, host, src, dst, net, port, proto, vip, endpoint, state, port-name, verdict";
constexpr unsigned depth_max = 16;
constexpr std::size_t names_shown_max = 8;

constexpr std::pair<std::string_view, FrameKind> protocols[] = {{"tcp", FrameKind::tcp},
                                                                {"udp", FrameKind::udp},
                                                                {"icmp", FrameKind::icmp},
                                                                {"icmpv6", FrameKind::icmpv6},
                                                                {"arp", FrameKind::arp}};

constexpr std::string_view states_help =
    "opening, answered, established, one-way, closing, closed, reset, ended or doubted";

std::optional<FlowState> state_of(std::string_view text) {
  for (unsigned i = 1; i <= static_cast<unsigned>(FlowState::doubted); ++i) {
    if (text == name_of(static_cast<FlowState>(i))) return static_cast<FlowState>(i);
  }
  return std::nullopt;
}

std::optional<std::uint16_t> port_of(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

// "drop_no_flow", "drop.no_flow" as show drops prints it, and "no_flow".
std::optional<Verdict> verdict_of(std::string_view text) {
  for (std::size_t i = 1; i < verdict_count; ++i) {
    const auto verdict = static_cast<Verdict>(i);
    const std::string_view name = name_of(verdict);
    if (text == name || text == counter_name_of(verdict)) return verdict;
    if (is_drop(verdict) && name.substr(name.find('_') + 1) == text) return verdict;
  }
  return std::nullopt;
}

// A value without the keyword that belongs before it: which; empty when it looks like none.
std::string_view keyword_for(std::string_view value) {
  if (IpAddress::parse(value)) return "host";
  if (IpPrefix::parse(value)) return "net";
  if (port_of(value.substr(0, value.find('-')))) return "port";
  if (verdict_of(value) || value == "drop" || value == "reject") return "verdict";
  if (state_of(value)) return "state";
  for (const auto& [name, kind] : protocols) {
    if (name == value) return "proto";
  }
  return {};
}

template <class Test>
bool of_any(const PacketFacts& facts, Test test) {
  return (facts.before != nullptr && test(*facts.before)) ||
         (facts.after != nullptr && test(*facts.after)) ||
         (facts.named != nullptr && test(*facts.named));
}

}  // namespace

std::string_view name_of(FrameKind kind) {
  for (const auto& [name, known] : protocols) {
    if (known == kind) return name;
  }
  return kind == FrameKind::ip_other ? "ip" : "other";
}

// Recursive descent; `not` binds tighter than `and`, `and` tighter than `or`.
class PacketFilter::Parser {
 public:
  Parser(std::string_view text, const Snapshot& tables) : tables_(tables) {
    std::string word;
    const auto end_word = [&] {
      if (!word.empty()) words_.push_back(std::exchange(word, {}));
    };
    for (const char c : text) {
      if (c == ' ' || c == '\t' || c == '\n') {
        end_word();
      } else if (c == '(' || c == ')' || c == '!') {
        end_word();
        words_.emplace_back(1, c);
      } else {
        word += c;
      }
    }
    end_word();
  }

  Result<std::vector<Step>> parse() {
    if (words_.empty()) return std::vector<Step>{Step{}};
    if (auto done = parse_or(0); !done) return tl::unexpected(done.error());
    if (at_ < words_.size()) {
      return wrong(fmt::format("'{}' closes nothing", words_[at_]));
    }
    return std::move(steps_);
  }

 private:
  static tl::unexpected<Error> wrong(const std::string& what) { return fail("filter: " + what); }
  bool is_next(std::string_view word) const { return at_ < words_.size() && words_[at_] == word; }
  bool take(std::string_view word) {
    if (!is_next(word)) return false;
    ++at_;
    return true;
  }

  Result<void> add(Step step) {
    if (steps_.size() == steps_max)
      return wrong(fmt::format("more than {} terms and operators", steps_max));
    steps_.push_back(std::move(step));
    return {};
  }
  Result<void> add(Kind kind) {
    Step step;
    step.kind = kind;
    return add(std::move(step));
  }

  Result<void> parse_or(unsigned depth) {
    if (auto done = parse_and(depth); !done) return done;
    while (take("or")) {
      if (auto done = parse_and(depth); !done) return done;
      if (auto done = add(Kind::either); !done) return done;
    }
    return {};
  }

  Result<void> parse_and(unsigned depth) {
    if (auto done = parse_not(depth); !done) return done;
    while (at_ < words_.size() && !is_next("or") && !is_next(")")) {
      take("and");
      if (auto done = parse_not(depth); !done) return done;
      if (auto done = add(Kind::both); !done) return done;
    }
    return {};
  }

  Result<void> parse_not(unsigned depth) {
    if (depth > depth_max) return wrong(fmt::format("deeper than {} levels", depth_max));
    if (take("not") || take("!")) {
      if (auto done = parse_not(depth + 1); !done) return done;
      return add(Kind::negated);
    }
    if (take("(")) {
      if (auto done = parse_or(depth + 1); !done) return done;
      if (!take(")")) return wrong("a ')' is missing");
      return {};
    }
    return parse_term();
  }

  Result<void> parse_term() {
    if (at_ == words_.size())
      return wrong(fmt::format("ends too early; expected one of {}", terms_help));
    const std::string keyword = words_[at_++];
    Step step;
    if (keyword == "any") return add(std::move(step));
    static constexpr std::pair<std::string_view, Kind> keywords[] = {
        {"host", Kind::host},       {"net", Kind::host},          {"src", Kind::source},
        {"dst", Kind::destination}, {"port", Kind::ports},        {"proto", Kind::protocol},
        {"vip", Kind::vip},         {"endpoint", Kind::endpoint}, {"port-name", Kind::port_name},
        {"state", Kind::state},     {"verdict", Kind::verdict}};
    const auto found = std::find_if(std::begin(keywords), std::end(keywords),
                                    [&](const auto& known) { return known.first == keyword; });
    if (found == std::end(keywords)) {
      const std::string_view meant = keyword_for(keyword);
      const std::string hint = meant.empty() ? "" : fmt::format("; did you mean '{} {}'?", meant, keyword);
      return wrong(fmt::format("'{}' is unknown; expected one of {}{}", keyword, terms_help, hint));
    }
    step.kind = found->second;
    if (at_ == words_.size() || is_next(")") || is_next("(")) {
      return wrong(fmt::format("'{}' wants {} after it", keyword, wanted_after(keyword)));
    }
    const std::string value = words_[at_++];
    if (auto read = read_value(step, keyword, value); !read) return read;
    return add(std::move(step));
  }

  static std::string_view wanted_after(std::string_view keyword) {
    if (keyword == "host") return "an IP address";
    if (keyword == "net") return "a prefix, as in 10.2.0.0/16";
    if (keyword == "src" || keyword == "dst") return "an IP address or a prefix";
    if (keyword == "port") return "a port from 0 to 65535, or a range as in 8000-8100";
    if (keyword == "proto") return "one of tcp, udp, icmp, icmpv6, arp";
    if (keyword == "verdict")
      return "a name that show drops prints, drop, reject, forward, reply or punt";
    if (keyword == "state") return states_help;
    return "a name";
  }

  Result<void> read_value(Step& step, const std::string& keyword, const std::string& value) const {
    const auto refused = [&] {
      return wrong(fmt::format("{} '{}': expected {}", keyword, value, wanted_after(keyword)));
    };
    switch (step.kind) {
      case Kind::host:
      case Kind::source:
      case Kind::destination: {
        const auto prefix = IpPrefix::parse(value);
        const bool has_length = value.find('/') != std::string::npos;
        if (!prefix || (keyword == "host" && has_length) || (keyword == "net" && !has_length))
          return refused();
        step.prefix = *prefix;
        return {};
      }
      case Kind::ports: {
        const std::size_t dash = value.find('-');
        const auto first = port_of(std::string_view(value).substr(0, dash));
        const auto last =
            dash == std::string::npos ? first : port_of(std::string_view(value).substr(dash + 1));
        if (!first || !last || *first > *last) return refused();
        step.first = *first;
        step.last = *last;
        return {};
      }
      case Kind::protocol:
        for (const auto& [name, kind] : protocols) {
          if (name != value) continue;
          step.frame = kind;
          return {};
        }
        return refused();
      case Kind::state: {
        const auto state = state_of(value);
        if (!state) return refused();
        step.state = *state;
        return {};
      }
      case Kind::verdict: {
        if (value == "drop" || value == "reject") {
          step.kind = Kind::verdict_class;
          step.is_reject = value == "reject";
          return {};
        }
        const auto verdict = verdict_of(value);
        if (!verdict) return refused();
        step.verdict = *verdict;
        return {};
      }
      default:
        break;
    }
    step.name = value;
    return check_name(step.kind, keyword, value);
  }

  // A misspelt name would match nothing, silently.
  Result<void> check_name(Kind kind, const std::string& keyword, const std::string& value) const {
    std::vector<std::string> known;
    const auto add = [&](NameRef ref) { known.emplace_back(tables_.name(ref)); };
    if (kind == Kind::vip) {
      for (const VipRow& row : tables_.vips()) {
        add(row.name);
        add(row.virtual_host);
      }
    } else if (kind == Kind::endpoint) {
      for (const EndpointRow& row : tables_.endpoints()) add(row.name);
    } else {
      for (const PortRow& row : tables_.ports()) add(row.name);
      known.emplace_back("kernel");
    }
    if (std::find(known.begin(), known.end(), value) != known.end()) return {};
    std::sort(known.begin(), known.end());
    known.erase(std::unique(known.begin(), known.end()), known.end());
    const bool is_cut = known.size() > names_shown_max;
    if (is_cut) known.resize(names_shown_max);
    std::string list;
    for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
    return wrong(fmt::format("no {} is named '{}'; known are {}{}",
                             keyword == "port-name" ? "port" : keyword, value,
                             list.empty() ? "none" : list, is_cut ? ", ..." : ""));
  }

  const Snapshot& tables_;
  std::vector<std::string> words_;
  std::size_t at_ = 0;
  std::vector<Step> steps_;
};

Result<PacketFilter> PacketFilter::parse(std::string_view text, const Snapshot& tables) {
  auto steps = Parser(text, tables).parse();
  if (!steps) return tl::unexpected(steps.error());
  PacketFilter filter;
  filter.steps_ = std::move(*steps);
  filter.text_ = text;
  return filter;
}

bool PacketFilter::is_true(const Step& step, const PacketFacts& facts) {
  switch (step.kind) {
    case Kind::host:
      return of_any(facts, [&](const FlowKey& key) {
        return step.prefix.contains(key.source) || step.prefix.contains(key.destination);
      });
    case Kind::source:
      return of_any(facts, [&](const FlowKey& key) { return step.prefix.contains(key.source); });
    case Kind::destination:
      return of_any(facts,
                       [&](const FlowKey& key) { return step.prefix.contains(key.destination); });
    case Kind::ports: {
      if (facts.kind != FrameKind::tcp && facts.kind != FrameKind::udp) return false;
      const auto is_in = [&](Be16 port) {
        return port.host() >= step.first && port.host() <= step.last;
      };
      return of_any(facts, [&](const FlowKey& key) {
        return is_in(key.source_port) || is_in(key.destination_port);
      });
    }
    case Kind::protocol:
      return facts.kind == step.frame;
    case Kind::vip:
      return facts.vip == step.name || facts.virtual_host == step.name;
    case Kind::endpoint:
      return facts.endpoint == step.name;
    case Kind::state:
      return facts.state == step.state;
    case Kind::port_name:
      return facts.port_in == step.name || facts.port_out == step.name;
    case Kind::verdict:
      return facts.verdict == step.verdict;
    case Kind::verdict_class:
      return step.is_reject ? is_reject(facts.verdict) : is_drop(facts.verdict);
    default:
      return true;
  }
}

bool PacketFilter::matches(const PacketFacts& facts) const {
  std::array<bool, steps_max> results;
  std::size_t count = 0;
  for (const Step& step : steps_) {
    if (step.kind == Kind::negated) {
      results[count - 1] = !results[count - 1];
    } else if (step.kind == Kind::both || step.kind == Kind::either) {
      const bool right = results[--count];
      bool& left = results[count - 1];
      left = step.kind == Kind::both ? left && right : left || right;
    } else {
      results[count++] = is_true(step, facts);
    }
  }
  return results[0];
}

std::string_view PacketFilter::asked_of_packets_only() const {
  for (const Step& step : steps_) {
    if (step.kind == Kind::port_name) return "port-name";
    if (step.kind == Kind::verdict || step.kind == Kind::verdict_class) return "verdict";
  }
  return {};
}

}  // namespace sluice

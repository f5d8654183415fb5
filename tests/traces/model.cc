#include "tests/traces/model.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

namespace sluice::trace {
namespace {

// The words up to the end of a simple statement; `at` moves behind it.
Words take_statement(const Words& words, std::size_t& at) {
  Words taken;
  while (at < words.size() && words[at] != ";" && words[at] != "}" && words[at] != "{") taken.push_back(words[at++]);
  if (at < words.size() && words[at] == ";") ++at;
  return taken;
}

std::optional<std::uint64_t> number_of(const std::string& word) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

bool split_endpoint(const std::string& text, IpAddress& address, std::uint16_t& port) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return false;
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  const auto parsed = IpAddress::parse(host);
  const auto number = number_of(text.substr(colon + 1));
  if (!parsed || !number || *number > 65'535) return false;
  address = *parsed;
  port = static_cast<std::uint16_t>(*number);
  return true;
}

// "80", "80,8080-8191", "*"
std::vector<PortRange> parse_ports(const std::string& text) {
  if (text == "*") return {all_ports};
  std::vector<PortRange> ports;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string item = text.substr(at, comma - at);
    const std::size_t dash = std::min(item.find('-'), item.size());
    const auto first = number_of(item.substr(0, dash));
    const auto last = dash == item.size() ? first : number_of(item.substr(dash + 1));
    if (!first || !last || *first > *last || *last > 65'535) return {};
    ports.push_back({static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)});
    at = comma + 1;
  }
  return ports;
}

bool split_vip(const std::string& text, VipModel& vip) {
  const std::size_t slash = text.rfind('/');
  const std::size_t colon = text.rfind(':', slash);
  if (slash == std::string::npos || colon == std::string::npos) return false;
  std::string where = text.substr(0, colon);
  if (where.size() > 2 && where.front() == '[') where = where.substr(1, where.size() - 2);
  const auto prefix = IpPrefix::parse(where);
  vip.ports = parse_ports(text.substr(colon + 1, slash - colon - 1));
  vip.protocol = text.substr(slash + 1) == "udp" ? 17 : 6;
  if (prefix) vip.where = *prefix;
  return prefix && !vip.ports.empty();
}

template <class Item>
Item* find_named(std::vector<Item>& items, const std::string& name) {
  const auto found = std::find_if(items.begin(), items.end(), [&](const Item& item) { return item.name == name; });
  return found == items.end() ? nullptr : &*found;
}

// Each weight's share of slots, spread evenly: what mgmt does for weighted round robin.
std::vector<std::uint16_t> slots_for(const ClusterModel& cluster) {
  std::vector<std::uint16_t> slots;
  for (std::uint16_t round = 0;; ++round) {
    bool has_any = false;
    for (std::size_t i = 0; i < cluster.endpoints.size(); ++i) {
      const EndpointModel& endpoint = cluster.endpoints[i];
      if (endpoint.state != EndpointState::up || endpoint.weight <= round) continue;
      slots.push_back(static_cast<std::uint16_t>(i));
      has_any = true;
    }
    if (!has_any) return slots;
  }
}

}  // namespace

std::optional<std::uint64_t> parse_duration_ms(const std::string& word) {
  const std::size_t digits = word.find_first_not_of("0123456789");
  const auto value = number_of(word.substr(0, digits));
  if (!value || digits == std::string::npos) return std::nullopt;
  const std::string unit = word.substr(digits);
  if (unit == "ms") return *value;
  if (unit == "s") return *value * 1'000;
  if (unit == "m") return *value * 60'000;
  if (unit == "h") return *value * 3'600'000;
  return std::nullopt;
}

const std::vector<PortModel>& Model::usual_ports() {
  static const std::vector<PortModel> ports = {{"outside", {"10.1.0.1/24", "fd00:1::1/64"}, 1'500, true, 0, {}},
                                               {"inside", {"10.2.0.1/24", "fd00:2::1/64"}, 1'500, true, 0, {}}};
  return ports;
}

std::vector<RouteModel> Model::routes() const {
  std::vector<RouteModel> all = routes_;
  if (is_usual_routes_ && is_usual_ports_) {
    all.push_back({*IpPrefix::parse("0.0.0.0/0"), *IpAddress::parse("10.1.0.254"), ""});
    all.push_back({*IpPrefix::parse("::/0"), *IpAddress::parse("fd00:1::fe"), ""});
  }
  for (const PortModel& port : ports()) {
    for (const std::string& address : port.addresses) all.push_back({*IpPrefix::parse(address), {}, port.name});
  }
  for (RouteModel& route : all) {
    if (!route.port.empty()) continue;
    for (const PortModel& port : ports()) {
      for (const std::string& address : port.addresses) {
        const auto network = IpPrefix::parse(address);
        if (network->is_v4() == route.next_hop.is_v4() && network->contains(route.next_hop)) route.port = port.name;
      }
    }
  }
  return all;
}

std::optional<Model::Hop> Model::hop_to(IpAddress destination) const {
  if (is_kernel_address(destination)) return Hop{destination, exception_port};
  std::optional<RouteModel> best;
  for (const RouteModel& route : routes()) {
    if (route.prefix.is_v4() != destination.is_v4() || !route.prefix.contains(destination)) continue;
    if (!best || route.prefix.length > best->prefix.length) best = route;
  }
  if (!best) return std::nullopt;
  for (std::size_t i = 0; i < ports().size(); ++i) {
    if (ports()[i].name == best->port) {
      return Hop{best->next_hop.is_unset() ? destination : best->next_hop, static_cast<std::uint16_t>(i)};
    }
  }
  return std::nullopt;
}

const EndpointModel* Model::endpoint(const std::string& text) const {
  for (const ClusterModel& cluster : clusters_) {
    for (const EndpointModel& endpoint : cluster.endpoints) {
      if (endpoint.text == text) return &endpoint;
    }
  }
  return nullptr;
}

const VipModel* Model::vip(const std::string& text) const {
  const auto found = std::find_if(vips_.begin(), vips_.end(), [&](const VipModel& vip) { return vip.text == text; });
  return found == vips_.end() ? nullptr : &*found;
}

Result<void> Model::set_endpoint(ClusterModel& cluster, const std::string& text, const Words& rest) {
  EndpointModel endpoint;
  endpoint.text = text;
  if (!split_endpoint(text, endpoint.address, endpoint.port)) return fail(fmt::format("'{}' is no ADDRESS:PORT", text));
  auto found = std::find_if(cluster.endpoints.begin(), cluster.endpoints.end(),
                            [&](const EndpointModel& known) { return known.text == text; });
  if (found == cluster.endpoints.end()) {
    const auto next_id = static_cast<std::uint32_t>(endpoint_ids_.size() + 1);
    endpoint.id = endpoint_ids_.try_emplace(cluster.name + " " + text, next_id).first->second;
    found = cluster.endpoints.insert(cluster.endpoints.end(), endpoint);
  }
  for (std::size_t i = 0; i < rest.size(); ++i) {
    const std::string& word = rest[i];
    if (word == "up") found->state = EndpointState::up;
    else if (word == "down") found->state = EndpointState::down;
    else if (word == "drain") found->state = EndpointState::draining;
    else if (word == "unknown") found->state = EndpointState::unknown;
    else if (word == "ended") found->state = EndpointState::ended;
    else if (word == "weight" && i + 1 < rest.size()) found->weight = static_cast<std::uint16_t>(*number_of(rest[++i]));
    else if (word == "server_id" && i + 1 < rest.size()) {
      const std::string& digits = rest[++i];
      found->quic_server_id.clear();
      for (std::size_t at = 0; at + 2 <= digits.size(); at += 2) {
        found->quic_server_id += static_cast<char>(std::stoi(digits.substr(at, 2), nullptr, 16));
      }
    } else if (word == "remove") {
      cluster.endpoints.erase(found);
      return {};
    } else if (word != "add") {
      return fail(fmt::format("endpoint: '{}'?", word));
    }
  }
  return {};
}

Result<void> Model::change_cluster(const Words& words, std::size_t& at) {
  Words head = take_statement(words, at);
  if (head.size() < 2) return fail("cluster: a name is needed");
  ClusterModel* cluster = find_named(clusters_, head[1]);
  if (cluster == nullptr) {
    clusters_.push_back({});
    cluster = &clusters_.back();
    cluster->name = head[1];
  }
  const auto apply = [&](const Words& statement) -> Result<void> {
    if (statement.size() < 2) return fail(fmt::format("cluster {}: an empty or short statement", cluster->name));
    if (statement[0] == "endpoint") {
      return set_endpoint(*cluster, statement[1], {statement.begin() + 2, statement.end()});
    }
    if (statement[0] == "forwarding") {
      cluster->forwarding = statement[1] == "nat"        ? Forwarding::nat
                            : statement[1] == "splice"   ? Forwarding::splice
                            : statement[1] == "dsr_l2"   ? Forwarding::dsr_l2
                            : statement[1] == "dsr_ipip" ? Forwarding::dsr_ipip
                            : statement[1] == "dsr_gue"  ? Forwarding::dsr_gue
                                                         : Forwarding::full_nat;
    } else if (statement[0] == "proxy") {
      cluster->proxy_protocol = statement[1] == "v1" ? ProxyProtocol::version_1 : ProxyProtocol::version_2;
    } else if (statement[0] == "choice") {
      cluster->choice = statement[1] == "hash"     ? Choice::hash
                        : statement[1] == "random" ? Choice::random
                        : statement[1] == "least"  ? Choice::least
                                                   : Choice::rotate;
    } else if (statement[0] == "snat") {
      cluster->snat = statement[1];
    } else if (statement[0] == "persist") {
      const std::size_t slash = statement[1].find('/');
      const auto v4 = number_of(statement[1].substr(0, slash));
      const auto v6 = number_of(statement[1].substr(slash + 1));
      if (slash == std::string::npos || !v4 || !v6) return fail("cluster: persist wants BITS/BITS");
      cluster->source_length_v4 = static_cast<std::uint8_t>(*v4 + 96);
      cluster->source_length_v6 = static_cast<std::uint8_t>(*v6);
    } else if (statement[0] == "lb_port") {
      cluster->is_lb_port = statement[1] == "on";
    } else if (statement[0] == "endpoint_flows_max") {
      cluster->endpoint_flows_max = static_cast<std::uint32_t>(number_of(statement[1]).value_or(0));
    } else {
      return fail(fmt::format("cluster {}: '{}'?", cluster->name, statement[0]));
    }
    return {};
  };
  if (head.size() > 2) return apply({head.begin() + 2, head.end()});
  if (at >= words.size() || words[at] != "{") return {};
  for (++at; at < words.size() && words[at] != "}";) {
    if (auto done = apply(take_statement(words, at)); !done) return done;
  }
  if (at >= words.size()) return fail("cluster: a '}' is missing");
  ++at;
  return {};
}

Result<void> Model::change_vip(const Words& words, std::size_t& at) {
  const Words head = take_statement(words, at);
  if (head.size() < 2) return fail("vip: ADDRESS:PORT/PROTOCOL is needed");
  const std::string& text = head[1];
  auto found = std::find_if(vips_.begin(), vips_.end(), [&](const VipModel& vip) { return vip.text == text; });
  if (head.size() > 2 && head[2] == "remove") {
    if (found == vips_.end()) return fail(fmt::format("vip {} is not there", text));
    vips_.erase(found);
    return {};
  }
  if (found == vips_.end()) {
    VipModel vip;
    vip.text = text;
    if (!split_vip(text, vip)) return fail(fmt::format("'{}' is no ADDRESS:PORT/PROTOCOL", text));
    vip.idle_ms = vip.protocol == 17 ? 60'000 : 3'600'000;
    vip.id = vip_ids_.try_emplace(text, static_cast<std::uint32_t>(vip_ids_.size() + 1)).first->second;
    found = vips_.insert(vips_.end(), vip);
  }
  const auto apply = [&](const Words& statement) -> Result<void> {
    if (statement.size() >= 3 && statement[0] == "name") {
      found->names.push_back({statement[1], statement[2], statement.size() > 3 ? statement[3] : ""});
      return {};
    }
    if (statement.size() >= 3 && statement[0] == "matches") {
      found->patterns.push_back({statement[1], statement[2], statement.size() > 3 ? statement[3] : ""});
      return {};
    }
    for (std::size_t i = 0; i < statement.size(); ++i) {
      if (statement[i] == "cookies") found->syn_cookies = SynCookies::always;
      else if (statement[i] == "cookies_from" && i + 1 < statement.size()) {
        found->syn_cookies = SynCookies::on_threshold;
        found->limits.cookie_threshold = static_cast<std::uint32_t>(number_of(statement[++i]).value_or(0));
        found->has_limits = true;
      } else if (statement[i] == "one_packet") found->is_one_packet = true;
      else if (statement[i] == "quic" && i + 1 < statement.size()) {
        const std::string& word = statement[++i];
        const std::size_t slash = std::min(word.find('/'), word.size());
        found->quic.rotation = static_cast<std::uint8_t>(number_of(word.substr(0, slash)).value_or(0));
        found->quic.server_id_bytes = slash == word.size() ? std::uint8_t{0} : static_cast<std::uint8_t>(number_of(word.substr(slash + 1)).value_or(0));
      }
      else if (statement[i] == "default" && i + 1 < statement.size()) found->default_cluster = statement[++i];
      else if (statement[i] == "hello" && i + 1 < statement.size()) {
        found->hello_ms = static_cast<std::uint32_t>(parse_duration_ms(statement[++i]).value_or(0));
      } else if (statement[i] == "reset_on_expiry") found->is_reset_on_expiry = true;
      else if (statement[i] == "pending") found->state = VipState::pending;
      else if (statement[i] == "ready") found->state = VipState::ready;
      else if (statement[i] == "cluster" && i + 1 < statement.size()) found->cluster = statement[++i];
      else if (statement[i] == "idle" && i + 1 < statement.size()) {
        const auto ms = parse_duration_ms(statement[++i]);
        if (!ms) return fail("vip: idle wants a duration");
        found->idle_ms = static_cast<std::uint32_t>(*ms);
      } else if (statement[i] == "mss" && i + 1 < statement.size()) {
        found->mss_max = static_cast<std::uint16_t>(number_of(statement[++i]).value_or(0));
      } else if ((statement[i] == "allow" || statement[i] == "deny") && i + 1 < statement.size()) {
        const auto prefix = IpPrefix::parse(statement[i + 1]);
        if (!prefix) return fail(fmt::format("vip: '{}' is no prefix", statement[i + 1]));
        found->sources.push_back({*prefix, statement[i] == "allow" ? source_action::allow : source_action::deny});
        found->has_limits = true;
        ++i;
      } else if (statement[i] == "proxied") {
        for (found->proxies.clear(); i + 1 < statement.size(); ++i) {
          const auto prefix = IpPrefix::parse(statement[i + 1]);
          if (!prefix) return fail(fmt::format("vip: '{}' is no prefix", statement[i + 1]));
          found->proxies.push_back({*prefix, 1});
        }
      } else if (statement[i] == "flows_max" && i + 1 < statement.size()) {
        found->limits.flows_max = static_cast<std::uint32_t>(number_of(statement[++i]).value_or(0));
        found->has_limits = true;
      } else if (statement[i] == "rate" && i + 2 < statement.size()) {
        const std::string& what = statement[++i];
        const std::uint64_t rate = number_of(statement[++i]).value_or(0);
        RateLimitRow& row = what == "new"          ? found->limits.new_flows
                            : what == "source_new" ? found->limits.source_new_flows
                            : what == "packets"    ? found->limits.packets
                                                   : found->limits.source_packets;
        row = rate == 0 ? RateLimitRow{} : RateLimitRow{1'000'000'000 / rate, 1'000'000'000};
        found->has_limits = true;
      } else {
        return fail(fmt::format("vip: '{}'?", statement[i]));
      }
    }
    return {};
  };
  if (head.size() > 2) return apply({head.begin() + 2, head.end()});
  if (at >= words.size() || words[at] != "{") return {};
  for (++at; at < words.size() && words[at] != "}";) {
    if (auto done = apply(take_statement(words, at)); !done) return done;
  }
  if (at >= words.size()) return fail("vip: a '}' is missing");
  ++at;
  return {};
}

Result<void> Model::change(const Words& words) {
  for (std::size_t at = 0; at < words.size();) {
    if (words[at] == ";") {
      ++at;
    } else if (words[at] == "cluster") {
      if (auto done = change_cluster(words, at); !done) return done;
    } else if (words[at] == "vip") {
      if (auto done = change_vip(words, at); !done) return done;
    } else {
      const Words line = take_statement(words, at);
      const auto arg = [&](std::size_t i) { return i < line.size() ? line[i] : std::string(); };
      if (line.empty()) return fail(fmt::format("'{}' is out of place", words[at]));
      if (line[0] == "port") {
        is_usual_ports_ = false;
        std::erase_if(ports_, [&](const PortModel& port) { return port.name == arg(1); });
        PortModel port;
        port.name = arg(1);
        for (std::size_t i = 2; i < line.size(); ++i) {
          if (line[i] == "mtu") port.mtu = static_cast<std::uint16_t>(number_of(arg(++i)).value_or(0));
          else if (line[i] == "vlan") {
            port.vlan = static_cast<std::uint16_t>(number_of(arg(++i)).value_or(0));
            port.parent = arg(i += 2);
          } else if (line[i] == "rss") port.is_rss_stable = arg(++i) != "unstable";
          else if (IpPrefix::parse(line[i])) port.addresses.push_back(line[i]);
          else return fail(fmt::format("port: '{}'?", line[i]));
        }
        ports_.push_back(port);
      } else if (line[0] == "route") {
        is_usual_routes_ = false;
        if (arg(1) == "none") continue;
        const auto prefix = IpPrefix::parse(arg(1));
        if (!prefix) return fail(fmt::format("route: '{}' is no prefix", arg(1)));
        RouteModel route{*prefix, {}, ""};
        if (arg(2) == "via") route.next_hop = IpAddress::parse(arg(3)).value_or(IpAddress{});
        else route.port = arg(3);
        routes_.push_back(route);
      } else if (line[0] == "snat") {
        is_usual_snats_ = false;
        SnatModel snat;
        snat.name = arg(1);
        for (std::size_t i = 2; i < line.size(); ++i) {
          if (line[i] == "ports") {
            const std::string range = arg(++i);
            const std::size_t dash = range.find('-');
            snat.port_first = static_cast<std::uint16_t>(number_of(range.substr(0, dash)).value_or(0));
            snat.port_last = static_cast<std::uint16_t>(number_of(range.substr(dash + 1)).value_or(0));
          } else if (const auto address = IpAddress::parse(line[i])) {
            snat.addresses.push_back(*address);
          } else {
            return fail(fmt::format("snat: '{}'?", line[i]));
          }
        }
        std::erase_if(snats_, [&](const SnatModel& known) { return known.name == snat.name; });
        snats_.push_back(snat);
      } else if (line[0] == "timeouts") {
        for (std::size_t i = 1; i + 1 < line.size(); i += 2) {
          const auto ms = parse_duration_ms(line[i + 1]);
          if (!ms) return fail(fmt::format("timeouts: '{}' is no duration", line[i + 1]));
          const auto value = static_cast<std::uint32_t>(*ms);
          if (line[i] == "opening") opening_ms_ = value;
          else if (line[i] == "closing") closing_ms_ = value;
          else if (line[i] == "closed") closed_ms_ = value;
          else if (line[i] == "reset") reset_ms_ = value;
          else return fail(fmt::format("timeouts: '{}'?", line[i]));
        }
      } else if (line[0] == "icmp") {
        for (std::size_t i = 1; i + 1 < line.size(); i += 2) {
          (line[i] == "errors" ? icmp_errors_ : icmp_echoes_) = static_cast<std::uint32_t>(number_of(line[i + 1]).value_or(0));
        }
      } else if (line[0] == "fragments") {
        for (std::size_t i = 1; i + 1 < line.size(); i += 2) {
          (line[i] == "datagrams" ? fragment_datagrams_ : fragment_held_bytes_) = static_cast<std::uint32_t>(number_of(line[i + 1]).value_or(0));
        }
      } else if (line[0] == "block") {
        const auto prefix = IpPrefix::parse(arg(1));
        if (!prefix && arg(1) != "none") return fail(fmt::format("block: '{}' is no prefix", arg(1)));
        if (prefix) blocked.push_back(*prefix);
        else blocked.clear();
      } else if (line[0] == "lcores") {
        lcore_count = static_cast<std::uint32_t>(number_of(arg(1)).value_or(1));
      } else if (line[0] == "replies") {
        replies_by_hash = arg(1) == "hash";
      } else if (line[0] == "flows") {
        flow_capacity = number_of(arg(1)).value_or(1);
        splice_capacity = std::min(splice_capacity, flow_capacity);
      } else if (line[0] == "splices") {
        splice_capacity = number_of(arg(1)).value_or(1);
      } else if (line[0] == "neighbors") {
        answers_for_neighbors = arg(1) != "manual";
      } else if (line[0] == "exception") {
        has_exception_port = arg(1) == "on";
        kernel_addresses.clear();
        for (std::size_t i = 2; i < line.size(); ++i) {
          const auto address = IpAddress::parse(line[i]);
          if (!address) return fail(fmt::format("exception: '{}' is no address", line[i]));
          kernel_addresses.push_back(*address);
        }
      } else {
        return fail(fmt::format("'{}' is no statement of a world", line[0]));
      }
      if (at < words.size() && words[at] != ";" && (words[at] == "{" || words[at] == "}")) {
        return fail(fmt::format("'{}' is out of place", words[at]));
      }
    }
  }
  return {};
}

// The first address of the port that leads there, in the order in which compile() writes them.
std::uint16_t Model::tunnel_source_for(IpAddress endpoint) const {
  const auto hop = hop_to(endpoint);
  std::uint16_t row = 0;
  for (std::size_t i = 0; i < ports().size(); ++i) {
    for (const std::string& text : ports()[i].addresses) {
      if (hop && hop->port == i && IpPrefix::parse(text)->is_v4() == endpoint.is_v4()) return row;
      ++row;
    }
  }
  return 0xffff;
}

Result<SnapshotBuffer> Model::compile() const {
  SnapshotWriter writer;
  writer.node.name = writer.name("trace");
  writer.node.flow_capacity = flow_capacity;
  writer.node.splice_capacity = splice_capacity;
  writer.node.worker_count = lcore_count;
  writer.node.tcp_opening_ms = opening_ms_;
  writer.node.tcp_closing_ms = closing_ms_;
  writer.node.tcp_closed_ms = closed_ms_;
  writer.node.tcp_reset_ms = reset_ms_;
  writer.node.fragment_datagrams_max = fragment_datagrams_;
  writer.node.fragment_held_bytes_max = fragment_held_bytes_;
  writer.node.fragment_timeout_ms = 5'000;
  writer.node.icmp_errors_per_second = icmp_errors_;
  writer.node.icmp_echoes_per_second = icmp_echoes_;
  writer.node.choice_secret = {0x0123456789abcdefull, 0xfedcba9876543210ull};

  for (std::size_t i = 0; i < ports().size(); ++i) {
    const PortModel& port = ports()[i];
    PortRow row{};
    row.name = writer.name(port.name);
    row.queue_count = static_cast<std::uint16_t>(lcore_count);
    row.mtu = port.mtu;
    row.is_rss_stable = port.is_rss_stable;
    row.vlan = port.vlan;
    for (std::size_t p = 0; p < ports().size(); ++p) {
      if (port.vlan != 0 && ports()[p].name == port.parent) row.parent = static_cast<std::uint16_t>(p);
    }
    writer.add(row);
    for (const std::string& text : port.addresses) {
      AddressRow address{};
      address.address = *IpAddress::parse(text.substr(0, text.find('/')));
      address.port = static_cast<std::uint16_t>(i);
      address.prefix_length = IpPrefix::parse(text)->length;
      writer.add(address);
    }
  }
  for (const RouteModel& route : routes()) {
    RouteRow row{};
    row.network = route.prefix.network;
    row.prefix_length = route.prefix.length;
    row.next_hop = route.next_hop;
    bool is_known = false;
    for (std::size_t i = 0; i < ports().size(); ++i) {
      if (ports()[i].name != route.port) continue;
      row.port = static_cast<std::uint16_t>(i);
      is_known = true;
    }
    if (!is_known) return fail(fmt::format("route {}: no port leads there", route.prefix.text()));
    writer.add(row);
  }
  if (has_exception_port) writer.node.exception_interface = writer.name("kernel");
  for (const IpAddress& address : kernel_addresses) {
    writer.add(AddressRow{address, exception_port, 128, {}});
    writer.add(RouteRow{address, {}, exception_port, 128, {}});
  }
  std::vector<SnatModel> snats = snats_;
  if (is_usual_snats_) {
    snats.push_back({"inside", {*IpAddress::parse("10.2.0.100"), *IpAddress::parse("fd00:2::100")}, 1'024, 65'535});
  }
  for (const SnatModel& snat : snats) writer.add_snat_pool(snat.name, snat.addresses, snat.port_first, snat.port_last);

  for (std::size_t c = 0; c < clusters_.size(); ++c) {
    const ClusterModel& cluster = clusters_[c];
    ClusterRow row{};
    row.name = writer.name(cluster.name);
    row.id = static_cast<std::uint32_t>(c);
    row.forwarding = cluster.forwarding;
    row.choice = cluster.choice;
    row.endpoint_flows_max = cluster.endpoint_flows_max;
    row.proxy_protocol = cluster.proxy_protocol;
    row.gue_port = be16(6'080);
    row.snat_pool = has_snat(cluster.forwarding) ? 0 : no_row;
    row.is_lb_port = cluster.is_lb_port ? 1 : 0;
    row.source_length_v4 = cluster.source_length_v4;
    row.source_length_v6 = cluster.source_length_v6;
    for (std::size_t i = 0; i < snats.size(); ++i) {
      if (has_snat(cluster.forwarding) && snats[i].name == cluster.snat) {
        row.snat_pool = static_cast<std::uint32_t>(i);
      }
    }
    std::uint8_t protocol = 6;
    for (const VipModel& vip : vips_) {
      if (vip.cluster == cluster.name) protocol = vip.protocol;
    }
    std::vector<EndpointRow> endpoints;
    for (const EndpointModel& endpoint : cluster.endpoints) {
      EndpointRow endpoint_row{};
      endpoint_row.address = endpoint.address;
      endpoint_row.name = writer.name(endpoint.text);
      endpoint_row.id = endpoint.id;
      endpoint_row.port = be16(endpoint.port);
      endpoint_row.weight = endpoint.weight;
      endpoint_row.protocol = protocol;
      endpoint_row.state = endpoint.state;
      endpoint_row.tunnel_source = tunnel_source_for(endpoint.address);
      endpoints.push_back(endpoint_row);
    }
    const std::uint32_t added = writer.add_cluster(row, endpoints, slots_for(cluster));
    for (std::uint32_t i = 0; i < cluster.endpoints.size(); ++i) {
      const std::string& id = cluster.endpoints[i].quic_server_id;
      if (!id.empty()) writer.add_quic_server(added, i, id);
    }
  }
  for (const VipModel& vip : vips_) {
    VipRow row{};
    row.address = vip.where.network;
    row.prefix_length = vip.where.length;
    row.name = writer.name(vip.text);
    row.virtual_host = row.name;
    row.id = static_cast<std::uint16_t>(vip.id);
    row.quic = vip.quic.packed();
    row.is_one_packet = vip.is_one_packet ? 1 : 0;
    row.idle_timeout_ms = vip.idle_ms;
    row.ports = vip.ports.front() == all_ports                              ? VipPorts::all
                : vip.ports.size() == 1 && vip.ports.front().is_single() ? VipPorts::one
                                                                         : VipPorts::ranges;
    row.port = be16(row.ports == VipPorts::all ? std::uint16_t{0} : vip.ports.front().first);
    row.protocol = vip.protocol;
    row.state = vip.state;
    row.is_reset_on_expiry = vip.is_reset_on_expiry ? 1 : 0;
    row.mss_max = vip.mss_max;
    row.hello_timeout_ms = vip.hello_ms;
    row.default_vip = no_row;
    row.syn_cookies = vip.syn_cookies;
    if (!vip.proxies.empty()) row.proxies = static_cast<std::uint16_t>(writer.add(build_prefix_table(vip.proxies)) + 1);
    row.is_peeking = !vip.names.empty() || !vip.patterns.empty() || !vip.default_cluster.empty();
    const auto row_of = [&](const std::string& name) -> std::uint32_t {
      for (std::size_t c = 0; c < clusters_.size(); ++c) {
        if (clusters_[c].name == name) return static_cast<std::uint32_t>(c);
      }
      return no_row;
    };
    const bool is_peeking = row.is_peeking != 0;
    row.cluster = row_of(!is_peeking              ? vip.cluster
                         : !vip.names.empty()     ? vip.names[0].cluster
                         : !vip.patterns.empty()  ? vip.patterns[0].cluster
                                                  : vip.default_cluster);
    if (row.cluster == no_row) return fail(fmt::format("vip {}: no cluster '{}'", vip.text, vip.cluster));
    const std::uint32_t listener = writer.add(row);
    for (const PortRange& ports : vip.ports) {
      if (row.ports == VipPorts::ranges) writer.add_ports(listener, ports);
    }
    if (vip.has_limits) {
      VipLimitsRow limits = vip.limits;
      if (!vip.sources.empty()) limits.sources = writer.add(build_prefix_table(vip.sources));
      writer.add_limits(limits);
    }
    if (!is_peeking) continue;
    // A row for each cluster that a name leads to, as if it were a virtual host.
    std::map<std::string, std::uint32_t> named;
    const auto named_row = [&](const std::string& cluster) {
      const auto [known, is_new] = named.try_emplace(cluster, 0);
      if (!is_new) return known->second;
      VipRow target = row;
      target.is_peeking = 0;
      target.is_named = 1;
      target.id = static_cast<std::uint16_t>(1'000 + clusters_.size() * vip.id + row_of(cluster));
      target.cluster = row_of(cluster);
      target.virtual_host = writer.name(cluster);
      return known->second = writer.add(target);
    };
    for (const ServerNameModel& name : vip.names) {
      if (row_of(name.cluster) == no_row) return fail(fmt::format("vip {}: no cluster '{}'", vip.text, name.cluster));
      writer.add_server_name(listener, name.name, name.alpn, named_row(name.cluster));
    }
    std::vector<SnapshotWriter::NamePattern> patterns;
    std::vector<std::string> expressions;
    for (const ServerNameModel& pattern : vip.patterns) {
      if (row_of(pattern.cluster) == no_row) return fail(fmt::format("vip {}: no cluster '{}'", vip.text, pattern.cluster));
      std::string protocol;
      if (!pattern.alpn.empty()) protocol = static_cast<char>(pattern.alpn.size()) + pattern.alpn;
      patterns.push_back({pattern.name, protocol, named_row(pattern.cluster)});
      expressions.push_back(pattern.name);
    }
    if (!patterns.empty()) {
      const auto database = build_name_patterns(expressions);
      if (!database) return tl::unexpected(database.error());
      writer.add_name_patterns(listener, patterns, *database);
    }
    if (!vip.default_cluster.empty()) writer.set_default_vip(listener, named_row(vip.default_cluster));
  }
  if (!blocked.empty()) {
    std::vector<PrefixRule> rules;
    for (const IpPrefix& prefix : blocked) rules.push_back({prefix, 1});
    writer.set_blocklist(blocked, build_prefix_table(rules));
  }
  return writer.finish(++generation_);
}

}  // namespace sluice::trace

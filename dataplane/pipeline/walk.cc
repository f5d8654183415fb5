#include "dataplane/pipeline/walk.h"

#include <fmt/core.h>

namespace sluice {
namespace {

std::string flags_text(std::uint8_t flags) {
  static constexpr std::pair<std::uint8_t, std::string_view> names[] = {
      {tcp_flag::syn, "syn"}, {tcp_flag::fin, "fin"}, {tcp_flag::rst, "rst"},
      {tcp_flag::psh, "psh"}, {tcp_flag::ack, "ack"}, {tcp_flag::urg, "urg"}};
  std::string text;
  for (const auto& [bit, name] : names) {
    if ((flags & bit) != 0) text += fmt::format(" {}", name);
  }
  return text;
}

std::string key_text(const FlowKey& key) {
  return fmt::format("{} > {}", address_port_text(key.source, key.source_port),
                     address_port_text(key.destination, key.destination_port));
}

std::string tuple_text(const WatchEntry& entry, FrameKind kind, const FlowKey& key) {
  switch (kind) {
    case FrameKind::tcp:
      return fmt::format("tcp {}{}", key_text(key), flags_text(entry.tcp_flags));
    case FrameKind::udp:
      return fmt::format("udp {}", key_text(key));
    default:
      return fmt::format("{} {} > {}", name_of(kind), key.source.text(), key.destination.text());
  }
}

std::string flow_text(const WatchEntry& entry) {
  const std::string named = entry.has_named ? fmt::format(", for {}", address_port_text(entry.named.source, entry.named.source_port)) : "";
  return fmt::format("{} {}, {}{}", entry.is_flow_new ? "new flow to endpoint" : "flow to endpoint",
                     entry.endpoint.view().empty() ? "(removed)" : entry.endpoint.view(),
                     name_of(entry.flow_state), named);
}

std::string vip_text(const WatchEntry& entry) {
  if (entry.vip.view().empty()) return "no VIP takes it";
  if (entry.virtual_host.view().empty() || entry.has_called) {
    return fmt::format("VIP {}, whose virtual host the client's first bytes tell", entry.vip.view());
  }
  return fmt::format("VIP {} of virtual host {}", entry.vip.view(), entry.virtual_host.view());
}

// Of a client that we have answered, or answer, before its endpoint does.
std::string peek_text(const WatchEntry& entry) {
  const bool is_syn = (entry.tcp_flags & tcp_flag::syn) != 0, is_reset = (entry.tcp_flags & tcp_flag::rst) != 0;
  std::string text;
  if (!entry.server_name.view().empty()) text = fmt::format("server name {}", entry.server_name.view());
  const auto add = [&](const std::string& more) { text += (text.empty() ? "" : ": ") + more; };
  if (entry.has_called) {
    add(fmt::format("virtual host {}, endpoint {} is called", entry.virtual_host.view(), entry.endpoint.view()));
  } else if (entry.verdict == Verdict::reply) {
    add(is_syn ? "the SYN is answered with a cookie" : "acknowledged; what is missing of its first bytes is awaited");
  } else if (entry.verdict == Verdict::absorb) {
    add(is_reset ? "the client has given up" : "the handshake is complete; the client's first bytes are awaited");
  }
  return text;
}

std::string text_of(Stage stage, const WatchEntry& entry) {
  const bool has_old_flow = entry.has_flow && !entry.is_flow_new;
  switch (stage) {
    case Stage::arrival: {
      std::string text =
          fmt::format("{} bytes by port {}", entry.received_bytes, entry.port_in.view());
      if (entry.hops > 0)
        text += fmt::format(", handed on by {} lcore{}", entry.hops, entry.hops == 1 ? "" : "s");
      return text;
    }
    case Stage::parse:
      return text_before(entry) +
             (entry.has_before ? fmt::format(", ttl {}", entry.ttl) : std::string());
    case Stage::find_flow:
      if (!has_old_flow) return "no flow has this five-tuple";
      return fmt::format("{}, the packet goes to the {}", flow_text(entry),
                         entry.direction == Direction::to_endpoint ? "endpoint" : "client");
    case Stage::classify:
      return has_old_flow ? std::string() : vip_text(entry);
    case Stage::limit_packets:
      return {};
    case Stage::peek:
      return entry.decided_in == Stage::peek ? peek_text(entry) : std::string();
    case Stage::open_flow:
      return entry.is_flow_new ? flow_text(entry) : std::string();
    case Stage::rewrite:
      return text_after(entry);
    case Stage::next_hop:
      if (entry.port_out.view().empty()) return {};
      return entry.verdict == Verdict::hold
                 ? fmt::format("by port {}", entry.port_out.view())
                 : fmt::format("by port {} to {}", entry.port_out.view(), entry.next_mac.text());
    case Stage::settle:
      return {};
  }
  return {};
}

}  // namespace

std::string text_before(const WatchEntry& entry) {
  return entry.has_before ? tuple_text(entry, entry.kind, entry.before) : std::string(name_of(entry.kind));
}

std::string text_after(const WatchEntry& entry) {
  return entry.has_after ? tuple_text(entry, entry.after_kind, entry.after) : std::string();
}

std::vector<WalkStep> walk_of(const WatchEntry& entry) {
  std::vector<WalkStep> steps;
  if (!entry.was_received) {
    const bool was_held = entry.verdict != Verdict::undecided;
    steps.push_back(
        {"leave",
         fmt::format("{}{} bytes by port {} to {}", was_held ? "out of the hold queue, " : "",
                     entry.sent_bytes, entry.port_out.view(), entry.next_mac.text())});
    return steps;
  }
  for (unsigned i = 0; i <= static_cast<unsigned>(entry.decided_in); ++i) {
    const auto stage = static_cast<Stage>(i);
    std::string text = text_of(stage, entry);
    if (text.empty() && stage == entry.decided_in) text = "decided here";
    if (!text.empty()) steps.push_back({name_of(stage), std::move(text)});
  }
  return steps;
}

}  // namespace sluice

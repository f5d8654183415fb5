#include "perf/bench/handshakes.h"

#include <fmt/core.h>

#include "dataplane/pipeline/stages.h"

namespace sluice::perf {
namespace {

constexpr std::size_t hello_bytes = 517;

void put16(std::vector<std::byte>& out, std::size_t value) {
  out.push_back(static_cast<std::byte>(value >> 8));
  out.push_back(static_cast<std::byte>(value));
}

FrameFields fields(std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledgment) {
  FrameFields result;
  result.to = our_mac;
  result.from = client_mac;
  result.tcp_flags = flags;
  result.sequence = sequence;
  result.acknowledgment = acknowledgment;
  return result;
}

const TcpHeader& tcp_of(const Packet& packet) {
  return *reinterpret_cast<const TcpHeader*>(packet.data + packet.frame.l4_offset);
}

void expect(const Packet& packet, Verdict verdict, const char* what) {
  if (packet.verdict == verdict) return;
  broken(fmt::format("{} of a spliced connection ended as {}", what, name_of(packet.verdict)));
}

}  // namespace

std::vector<std::byte> client_hello(std::string_view name) {
  constexpr std::size_t record_header = 5, handshake_header = 4;
  std::vector<std::byte> out;
  const auto put = [&](std::initializer_list<int> bytes) {
    for (const int byte : bytes) out.push_back(static_cast<std::byte>(byte));
  };
  put({22, 3, 1});
  put16(out, hello_bytes - record_header);
  put({1, 0});
  put16(out, hello_bytes - record_header - handshake_header);
  put({3, 3});
  out.insert(out.end(), 32, std::byte{0x5a});  // random
  put({0});                                    // no session
  put({0, 2, 0x13, 0x01});                     // TLS_AES_128_GCM_SHA256
  put({1, 0});                                 // no compression
  put16(out, hello_bytes - out.size() - 2);    // extensions
  put({0, 0});                                 // server_name (RFC 6066 3)
  put16(out, name.size() + 5);
  put16(out, name.size() + 3);
  put({0});
  put16(out, name.size());
  for (const char letter : name) out.push_back(static_cast<std::byte>(letter));
  put({0, 21});  // padding (RFC 7685)
  put16(out, hello_bytes - out.size() - 2);
  out.resize(hello_bytes);
  return out;
}

Handshakes::Handshakes(Rig& rig) : rig_(rig), batch_(80 + hello_bytes) {
  for (std::uint32_t i = 0; i < server_name_count; ++i) hellos_.push_back(client_hello(server_name(i)));
}

template <class Visit>
void Handshakes::step(std::size_t generated_each, Visit visit) {
  World& world = rig_.world();
  spent_ += batch_.run(world, [&](Burst& burst, std::size_t first) {
    const auto generated = world.generated.items();
    if (generated.size() != generated_each * burst.count) broken("a spliced connection was not carried on in time");
    for (std::size_t i = 0; i < burst.count; ++i) {
      visit(burst.packets[i], connections_[first + i], generated.subspan(i * generated_each, generated_each));
    }
    world.generated.clear();
  });
  batch_.clear();
}

double Handshakes::run(std::span<const FlowKey> clients) {
  spent_ = 0;
  connections_.clear();
  joined_.clear();
  batch_.clear();
  for (const FlowKey& client : clients) connections_.push_back({client, {}, 0});

  for (const Connection& connection : connections_) batch_.add(connection.client, fields(tcp_flag::syn, client_isn, 0));
  step(0, [](Packet& packet, Connection& connection, auto) {
    expect(packet, Verdict::reply, "the SYN");
    connection.cookie = tcp_of(packet).sequence.host();
  });

  for (const Connection& connection : connections_) {
    batch_.add(connection.client, fields(tcp_flag::ack, client_isn + 1, connection.cookie + 1));
  }
  step(0, [](Packet& packet, Connection&, auto) { expect(packet, Verdict::absorb, "the client's ACK"); });

  std::size_t next = 0;
  for (const Connection& connection : connections_) {
    const auto& hello = hellos_[next++ % hellos_.size()];
    FrameFields of_hello = fields(tcp_flag::ack | tcp_flag::psh, client_isn + 1, connection.cookie + 1);
    of_hello.payload_bytes = hello.size();
    of_hello.payload_sum = checksum_sum(hello);
    batch_.add(connection.client, of_hello, hello);
  }
  step(1, [](Packet& packet, Connection& connection, std::span<GeneratedFrame> sent) {
    expect(packet, Verdict::absorb, "the hello");
    connection.reply = key_in(sent[0].data.data()).reversed();
  });

  for (const Connection& connection : connections_) {
    batch_.add(connection.reply, fields(tcp_flag::syn | tcp_flag::ack, endpoint_isn, client_isn + 1));
  }
  step(1, [](Packet& packet, Connection&, std::span<GeneratedFrame> sent) {
    expect(packet, Verdict::absorb, "the endpoint's SYN-ACK");
    if (sent[0].tail.size() != hello_bytes) broken("an endpoint did not get the hello whole");
  });

  for (const Connection& connection : connections_) {
    batch_.add(connection.reply, fields(tcp_flag::ack, endpoint_isn + 1, client_isn + 1 + hello_bytes));
  }
  step(0, [&](Packet& packet, Connection& connection, auto) {
    check_leaves_as(packet, connection.client.reversed());
    if (tcp_of(packet).sequence.host() != connection.cookie + 1) broken("a spliced segment left with a wrong sequence number");
    joined_.push_back(packet.flow);
  });
  return static_cast<double>(spent_) / static_cast<double>(clients.size());
}

void Handshakes::close_all() {
  for (FlowRecord* record : joined_) close_flow(rig_.world(), *record);
  joined_.clear();
}

}  // namespace sluice::perf

#include "dataplane/net/client_hello.h"

#include <memory>

#include "tests/traces/hello_text.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::client_hello_test {
namespace {

using trace::build_hello;
using trace::Bytes;
using trace::HelloText;
using trace::server_name_body;

// In a buffer of exactly its size, so that reading one byte too far is seen.
ClientHello parse_exactly(std::span<const std::byte> bytes) {
  const std::unique_ptr<std::byte[]> exact(new std::byte[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  ClientHello hello;
  parse_client_hello({exact.get(), bytes.size()}, hello);
  return hello;
}

Bytes of_text(const std::string& text) {
  Bytes bytes;
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

Bytes with(std::size_t at, unsigned value, Bytes bytes = build_hello({.name = "a.example"})) {
  bytes.at(at) = static_cast<std::byte>(value);
  return bytes;
}

Bytes with_names(const std::vector<std::string>& names) { return build_hello({.more_extensions = {{0, server_name_body(names)}}}); }

Bytes of_size(std::size_t bytes) {
  const std::size_t rest = build_hello({.name = "a.example", .padding_bytes = 1}).size() - 1;
  return build_hello({.name = "a.example", .padding_bytes = bytes - rest});
}

struct Case {
  const char* name;
  Bytes bytes;
  HelloStatus status;
  HelloFault fault = HelloFault::none;
  std::string server_name = {};
};

std::vector<Case> cases() {
  using enum HelloStatus;
  using enum HelloFault;
  Bytes ssh = of_text("SSH-2.0-OpenSSH_9.2\r\n"), http = of_text("GET / HTTP/1.1\r\n");
  Bytes interleaved = build_hello({.name = "a.example", .record_bytes_max = 100});
  interleaved[105] = std::byte{21};  // an alert between the two halves
  Bytes second_version = build_hello({.name = "a.example", .record_bytes_max = 100});
  second_version[106] = std::byte{2};
  return {
      {"plain", build_hello({.name = "a.example"}), complete, none, "a.example"},
      {"no_name", build_hello({}), complete},
      {"grease", build_hello({.name = "a.example", .has_grease = true}), complete, none, "a.example"},
      {"post_quantum", build_hello({.name = "a.example", .key_share_bytes = 1'216}), complete, none, "a.example"},
      {"ech_routes_on_the_outer_name", build_hello({.name = "outer.example", .ech_bytes = 300}), complete, none, "outer.example"},
      {"padded_to_4_kB", build_hello({.name = "a.example", .padding_bytes = 4'000}), complete, none, "a.example"},
      {"records_of_one_byte", build_hello({.name = "a.example", .record_bytes_max = 1}), complete, none, "a.example"},
      {"twenty_records", build_hello({.name = "a.example", .padding_bytes = 15'000, .record_bytes_max = 800}), complete, none, "a.example"},
      {"upper_case", build_hello({.name = "A.ExAmple"}), complete, none, "a.example"},
      {"dot_at_end", build_hello({.name = "a.example."}), complete, none, "a.example"},
      {"ip_literal", build_hello({.name = "192.0.2.1"}), complete, none, "192.0.2.1"},
      {"idn", build_hello({.name = "xn--bcher-kva.example"}), complete, none, "xn--bcher-kva.example"},
      {"longest", build_hello({.name = std::string(253, 'a')}), complete, none, std::string(253, 'a')},
      {"longest_and_dot", build_hello({.name = std::string(253, 'a') + "."}), complete, none, std::string(253, 'a')},
      {"exactly_16_kB", of_size(16'384), complete, none, "a.example"},
      {"one_more", of_size(16'385), too_long},
      {"too_long", build_hello({.name = "a.example", .padding_bytes = 16'384}), too_long},
      {"too_long_by_its_records", build_hello({.name = "a.example", .padding_bytes = 4'000, .record_bytes_max = 1}), too_long},
      {"says_it_is_too_long", with(6, 0x01), too_long},
      {"nothing", {}, need_more},
      {"one_byte", {std::byte{0x16}}, need_more},
      {"ssl_v2", {std::byte{0x80}, std::byte{0x2e}, std::byte{0x01}}, not_tls},
      {"ssh", ssh, not_tls},
      {"http", http, not_tls},
      {"alert", with(0, 21), not_tls},
      {"version_2", with(1, 2), not_tls},
      {"record_of_0", with(4, 0, with(3, 0)), malformed, record_length},
      {"record_of_16385", with(4, 1, with(3, 0x40)), malformed, record_length},
      {"server_hello", with(5, 2), malformed, handshake_type},
      {"alert_between_records", interleaved, malformed, record_type},
      {"version_of_second_record", second_version, malformed, record_version},
      {"session_id_of_33", with(43, 33), malformed, hello_lengths},
      {"suites_odd", with(77, 7), malformed, hello_lengths},
      {"suites_beyond_the_end", with(76, 0x40), malformed, hello_lengths},
      {"name_empty", with_names({""}), malformed, server_name_bytes},
      {"name_is_a_dot", with_names({"."}), malformed, server_name_bytes},
      {"name_of_254", with_names({std::string(254, 'a')}), malformed, server_name_bytes},
      {"name_of_300", with_names({std::string(300, 'a')}), malformed, server_name_bytes},
      {"name_with_nul", with_names({std::string("a\0b.example", 11)}), malformed, server_name_bytes},
      {"name_in_utf8", with_names({"b\xc3\xbc\x63her.example"}), malformed, server_name_bytes},
      {"name_with_star", with_names({"*.example"}), malformed, server_name_bytes},
      {"two_names", with_names({"a.example", "b.example"}), malformed, server_name_list},
      {"no_name_in_list", with_names({}), malformed, server_name_list},
      {"name_type_unknown", build_hello({.more_extensions = {{0, of_text(std::string("\0\x06\x01\0\x03yes", 8))}}}), malformed, server_name_list},
      {"name_twice", build_hello({.name = "a.example", .more_extensions = {{0, server_name_body({"b.example"})}}}), malformed, extension_repeated},
      {"unknown_twice", build_hello({.more_extensions = {{0x7777, {}}, {0x7777, {}}}}), malformed, extension_repeated},
      {"alpn_lying", build_hello({.more_extensions = {{16, of_text(std::string("\0\x03\x05h2", 5))}}}), malformed, alpn_list},
      {"alpn_empty", build_hello({.more_extensions = {{16, of_text(std::string("\0\0", 2))}}}), malformed, alpn_list},
  };
}

TEST(ClientHello, Cases) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const ClientHello hello = parse_exactly(c.bytes);
    EXPECT_EQ(hello.status, c.status);
    EXPECT_STREQ(name_of(hello.fault), name_of(c.fault));
    EXPECT_EQ(hello.server_name(), c.server_name);
    if (c.status == HelloStatus::complete) {
      EXPECT_EQ(hello.wire_bytes, c.bytes.size());
    }
  }
}

TEST(ClientHello, OffersWhatItsAlpnSays) {
  const ClientHello hello = parse_exactly(build_hello({.name = "a.example", .alpn = {"h2", "http/1.1"}}));
  EXPECT_TRUE(hello.offers("h2"));
  EXPECT_TRUE(hello.offers("http/1.1"));
  EXPECT_FALSE(hello.offers("http/1"));
  EXPECT_FALSE(hello.offers(""));
  EXPECT_FALSE(parse_exactly(build_hello({.name = "a.example"})).offers("h2"));
}

TEST(ClientHello, AnEarlyAnswerIsTheAnswer) {  // SP-01: for every cut, whatever is told for a prefix stays true
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const ClientHello whole = parse_exactly(c.bytes);
    for (std::size_t cut = 0; cut <= c.bytes.size(); cut += cut < 700 ? 1 : 37) {
      const ClientHello part = parse_exactly(std::span(c.bytes).first(cut));
      if (part.status == HelloStatus::need_more) continue;
      ASSERT_EQ(part.status, whole.status) << cut;
      ASSERT_EQ(part.fault, whole.fault) << cut;
      ASSERT_EQ(part.server_name(), whole.server_name()) << cut;
    }
  }
}

TEST(ClientHello, RandomDamageDoesNoHarm) {
  SLUICE_TRACE_SEED();
  test::Random random(17);
  const auto all = cases();
  for (std::uint64_t i = 0; i < test::tries(200'000); ++i) {
    Bytes bytes = all[random.below(all.size())].bytes;
    if (bytes.empty() || bytes.size() > 2'000) continue;
    for (std::uint64_t changes = random.below(4); changes > 0; --changes) {
      bytes[random.below(bytes.size())] = static_cast<std::byte>(random.word());
    }
    bytes.resize(random.below(bytes.size() + 1));
    const ClientHello hello = parse_exactly(bytes);
    if (hello.status == HelloStatus::complete) {
      ASSERT_LE(hello.wire_bytes, bytes.size());
    }
  }
}

}  // namespace
}  // namespace sluice::client_hello_test

#include "dataplane/net/proxy_protocol.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "dataplane/net/headers.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::proxy_protocol_test {
namespace {

using namespace std::string_literals;

// In a buffer of exactly its size, so that reading one byte too far is seen.
ProxyHeader read_exactly(std::string_view text) {
  const std::unique_ptr<std::byte[]> exact(new std::byte[text.size()]);
  std::memcpy(exact.get(), text.data(), text.size());
  return read_proxy_header({exact.get(), text.size()});
}

std::string version_2(unsigned command, unsigned family, const std::string& block, std::size_t says) {
  std::string header("\r\n\r\n\0\r\nQUIT\n", 12);
  for (const std::size_t byte : {std::size_t{command}, std::size_t{family}, says >> 8, says & 0xff}) header += static_cast<char>(byte);
  return header + block;
}
std::string version_2(unsigned command, unsigned family, const std::string& block) { return version_2(command, family, block, block.size()); }

const std::string v4_block("\xcb\x00\x71\x09\xc0\x00\x02\x01\x0f\xa0\x01\xbb", 12);  // 203.0.113.9:4000 to 192.0.2.1:443
const std::string v6_client("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09", 16), v6_server("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
const std::string mapped_client("\0\0\0\0\0\0\0\0\0\0\xff\xff\xcb\x00\x71\x09", 16), mapped_server("\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01", 16);
const std::string ports("\x0f\xa0\x01\xbb", 4);
const std::string v6_block = v6_client + v6_server + ports;

std::string tlv(unsigned type, const std::string& value) {
  return std::string{static_cast<char>(type), static_cast<char>(value.size() >> 8), static_cast<char>(value.size() & 0xff)} + value;
}

const char* const v4_names = "203.0.113.9:4000 > 192.0.2.1:443";
const char* const v6_names = "[2001:db8::9]:4000 > [2001:db8::1]:443";
const char* const own = "";

std::string names(const ProxyHeader& header) {
  if (!header.from_client) return own;
  EXPECT_EQ(header.from_client->protocol, protocol::tcp);
  return address_port_text(header.from_client->source, header.from_client->source_port) + " > " +
         address_port_text(header.from_client->destination, header.from_client->destination_port);
}

struct Case {
  const char* name;
  std::string bytes;
  ProxyHeaderStatus status;
  std::string names = own;
};

std::vector<Case> cases() {
  using enum ProxyHeaderStatus;
  const std::string v6_longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  const auto line = [](const std::string& rest) { return "PROXY " + rest + "\r\n"; };
  return {
      {"v1_tcp4", line("TCP4 203.0.113.9 192.0.2.1 4000 443"), complete, v4_names},
      {"v1_tcp6", line("TCP6 2001:db8::9 2001:db8::1 4000 443"), complete, v6_names},
      {"v1_tcp6_longest", line("TCP6 " + v6_longest + " " + v6_longest + " 65535 65535"), complete,
       "[" + v6_longest + "]:65535 > [" + v6_longest + "]:65535"},
      {"v1_tcp6_mapped", line("TCP6 ::ffff:203.0.113.9 ::ffff:192.0.2.1 4000 443"), complete, v4_names},
      {"v1_ports_0", line("TCP4 203.0.113.9 192.0.2.1 0 0"), complete, "203.0.113.9:0 > 192.0.2.1:0"},
      {"v1_unknown", line("UNKNOWN"), complete},
      {"v1_unknown_longest", line("UNKNOWN " + v6_longest + " " + v6_longest + " 65535 65535"), complete},
      {"v1_unknown_and_anything", line("UNKNOWN \0\x7f x"s), complete},
      {"v1_108_bytes", line("UNKNOWN " + v6_longest + " " + v6_longest + " 65535 655355"), too_long},
      {"v1_without_end", "PROXY TCP4 " + std::string(200, ' '), too_long},
      {"v1_line_feed_only", "PROXY TCP4 203.0.113.9 192.0.2.1 4000 443\n" + std::string(100, 'x'), too_long},
      {"v1_carriage_return_only", "PROXY TCP4 203.0.113.9 192.0.2.1 4000 443\r" + std::string(100, 'x'), too_long},
      {"v1_nothing", line(""), malformed},
      {"v1_unknown_word", line("UNKNOWNS"), malformed},
      {"v1_udp", line("UDP4 203.0.113.9 192.0.2.1 4000 443"), malformed},
      {"v1_lower_case", line("tcp4 203.0.113.9 192.0.2.1 4000 443"), malformed},
      {"v1_other_case_at_start", "proxy TCP4 203.0.113.9 192.0.2.1 4000 443\r\n", not_proxy},
      {"v1_v6_as_tcp4", line("TCP4 2001:db8::9 2001:db8::1 4000 443"), malformed},
      {"v1_v4_as_tcp6", line("TCP6 203.0.113.9 192.0.2.1 4000 443"), malformed},
      {"v1_mixed", line("TCP4 203.0.113.9 2001:db8::1 4000 443"), malformed},
      {"v1_mixed_by_mapping", line("TCP6 ::ffff:203.0.113.9 2001:db8::1 4000 443"), malformed},
      {"v1_address_leading_zero", line("TCP4 203.0.113.09 192.0.2.1 4000 443"), malformed},
      {"v1_address_of_three", line("TCP4 203.0.113 192.0.2.1 4000 443"), malformed},
      {"v1_address_256", line("TCP4 203.0.113.256 192.0.2.1 4000 443"), malformed},
      {"v1_address_with_zone", line("TCP6 fe80::1%eth0 2001:db8::1 4000 443"), malformed},
      {"v1_address_too_long", line("TCP6 0000:0000:0000:0000:0000:0000:0000:0000:0000:0000 ::1 4000 443"), malformed},
      {"v1_address_with_nul", line("TCP4 203.0.113.9\0 192.0.2.1 4000 443"s), malformed},
      {"v1_port_65536", line("TCP4 203.0.113.9 192.0.2.1 65536 443"), malformed},
      {"v1_port_leading_zero", line("TCP4 203.0.113.9 192.0.2.1 4000 0443"), malformed},
      {"v1_port_signed", line("TCP4 203.0.113.9 192.0.2.1 +4000 443"), malformed},
      {"v1_port_negative", line("TCP4 203.0.113.9 192.0.2.1 -1 443"), malformed},
      {"v1_port_hexadecimal", line("TCP4 203.0.113.9 192.0.2.1 0x10 443"), malformed},
      {"v1_port_missing", line("TCP4 203.0.113.9 192.0.2.1 4000"), malformed},
      {"v1_port_empty", line("TCP4 203.0.113.9 192.0.2.1 4000 "), malformed},
      {"v1_word_too_many", line("TCP4 203.0.113.9 192.0.2.1 4000 443 x"), malformed},
      {"v1_space_at_end", line("TCP4 203.0.113.9 192.0.2.1 4000 443 "), malformed},
      {"v1_two_spaces", line("TCP4  203.0.113.9 192.0.2.1 4000 443"), malformed},
      {"v1_tabulator", line("TCP4\t203.0.113.9 192.0.2.1 4000 443"), malformed},
      {"v1_carriage_return_inside", line("TCP4 203.0.113.9 192.0.2.1 4000 443\r"), malformed},
      {"v2_tcp4", version_2(0x21, 0x11, v4_block), complete, v4_names},
      {"v2_tcp6", version_2(0x21, 0x21, v6_block), complete, v6_names},
      {"v2_tcp6_mapped", version_2(0x21, 0x21, mapped_client + mapped_server + ports), complete, v4_names},
      {"v2_mixed_by_mapping", version_2(0x21, 0x21, mapped_client + v6_server + ports), malformed},
      {"v2_tlvs", version_2(0x21, 0x11, v4_block + tlv(0x02, "a.example") + tlv(0x04, "") + tlv(0xee, std::string(300, 'x'))), complete, v4_names},
      // Checksums computed with another program, bit by bit.
      {"v2_checksum", version_2(0x21, 0x11, v4_block + tlv(0x03, "\x44\xf5\xfc\xeb")), complete, v4_names},
      {"v2_checksum_between", version_2(0x21, 0x21, v6_block + tlv(0x04, "ab") + tlv(0x03, "\x53\x7d\xbc\xd4") + tlv(0xee, "x")), complete, v6_names},
      {"v2_checksum_of_others", version_2(0x21, 0x21, v6_block + tlv(0x04, "ac") + tlv(0x03, "\x53\x7d\xbc\xd4") + tlv(0xee, "x")), checksum_wrong},
      {"v2_checksum_of_others_behind", version_2(0x21, 0x21, v6_block + tlv(0x04, "ab") + tlv(0x03, "\x53\x7d\xbc\xd4") + tlv(0xee, "y")), checksum_wrong},
      {"v2_checksum_in_the_other_order", version_2(0x21, 0x11, v4_block + tlv(0x03, "\xeb\xfc\xf5\x44")), checksum_wrong},
      {"v2_checksum_of_0", version_2(0x21, 0x11, v4_block + tlv(0x03, std::string(4, '\0'))), checksum_wrong},
      {"v2_checksum_twice", version_2(0x21, 0x11, v4_block + tlv(0x03, "\x44\xf5\xfc\xeb") + tlv(0x03, "\x44\xf5\xfc\xeb")), checksum_wrong},
      {"v2_checksum_of_3_bytes", version_2(0x21, 0x11, v4_block + tlv(0x03, "abc")), malformed},
      {"v2_checksum_of_5_bytes", version_2(0x21, 0x11, v4_block + tlv(0x03, "\x44\xf5\xfc\xeb\x01")), malformed},
      {"v2_checksum_wrong_and_tlv_overruns", version_2(0x21, 0x11, v4_block + tlv(0x03, "abcd") + "\x04\x00\x01"s), malformed},
      {"v2_checksum_of_unix", version_2(0x21, 0x31, std::string(216, '/') + tlv(0x03, "abcd")), complete},  // not looked at
      {"v2_4096_bytes", version_2(0x21, 0x11, v4_block + tlv(0x04, std::string(4'096 - 16 - 12 - 3, 'x'))), complete, v4_names},
      {"v2_4097_bytes", version_2(0x21, 0x11, v4_block + tlv(0x04, std::string(4'097 - 16 - 12 - 3, 'x'))), too_long},
      {"v2_64_kB", version_2(0x21, 0x11, v4_block, 0xffff), too_long},
      {"v2_local", version_2(0x20, 0x00, ""), complete},
      {"v2_local_with_addresses", version_2(0x20, 0x11, v4_block), complete},
      {"v2_local_any_family", version_2(0x20, 0xff, "xyz"), complete},
      {"v2_local_64_kB", version_2(0x20, 0x00, "", 0xffff), too_long},
      {"v2_unspec", version_2(0x21, 0x00, ""), complete},
      {"v2_unspec_with_bytes", version_2(0x21, 0x00, "anything"), complete},
      {"v2_udp4", version_2(0x21, 0x12, v4_block), complete},
      {"v2_udp6", version_2(0x21, 0x22, v6_block), complete},
      {"v2_unix", version_2(0x21, 0x31, std::string(216, '/')), complete},
      {"v2_unix_too_short", version_2(0x21, 0x31, "/tmp/x"), complete},
      {"v2_unix_datagram", version_2(0x21, 0x32, std::string(216, '/')), complete},
      {"v2_family_4", version_2(0x21, 0x41, v4_block), malformed},
      {"v2_protocol_3", version_2(0x21, 0x13, v4_block), malformed},
      {"v2_command_2", version_2(0x22, 0x11, v4_block), malformed},
      {"v2_version_1", version_2(0x11, 0x11, v4_block), malformed},
      {"v2_version_3", version_2(0x31, 0x11, v4_block), malformed},
      {"v2_tcp4_empty", version_2(0x21, 0x11, ""), malformed},
      {"v2_tcp4_of_11", version_2(0x21, 0x11, v4_block.substr(1)), malformed},
      {"v2_tcp6_of_35", version_2(0x21, 0x21, v6_block.substr(1)), malformed},
      {"v2_tcp6_with_v4_block", version_2(0x21, 0x21, v4_block), malformed},
      {"v2_tlv_overruns", version_2(0x21, 0x11, v4_block + "\x02\x00\x05""abcd"s), malformed},
      {"v2_tlv_overruns_by_64_kB", version_2(0x21, 0x11, v4_block + "\x02\xff\xff"s), malformed},
      {"v2_tlv_of_2_bytes", version_2(0x21, 0x11, v4_block + "\x04\x00"s), malformed},
      {"v2_second_tlv_overruns", version_2(0x21, 0x21, v6_block + tlv(0x04, "ab") + "\x04\x00\x01"s), malformed},
      {"v2_signature_spoiled", "\r\n\r\n\0\r\nQUIT\r"s, not_proxy},
      {"nothing", "", need_more},
      {"http", "GET / HTTP/1.1\r\n", not_proxy},
      {"post", "POST / HTTP/1.1\r\n", not_proxy},
      {"ssh", "SSH-2.0-OpenSSH_9.2\r\n", not_proxy},
      {"tls", "\x16\x03\x01\x02"s, not_proxy},
      {"without_space", "PROXYTCP4 203.0.113.9 192.0.2.1 4000 443\r\n", not_proxy},
  };
}

TEST(ProxyHeader, Cases) {  // PP-01
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const ProxyHeader header = read_exactly(c.bytes);
    EXPECT_EQ(header.status, c.status);
    EXPECT_EQ(names(header), c.names);
    EXPECT_EQ(header.bytes, c.status == ProxyHeaderStatus::complete ? c.bytes.size() : 0);
  }
}

TEST(ProxyHeader, EveryTruncationWaitsOrIsTheAnswer) {  // PP-01
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    for (std::size_t cut = 0; cut <= c.bytes.size(); ++cut) {
      const ProxyHeader part = read_exactly(c.bytes.substr(0, cut));
      if (part.status == ProxyHeaderStatus::need_more) continue;
      ASSERT_EQ(part.status, c.status) << cut;
      ASSERT_EQ(names(part), c.names) << cut;
      ASSERT_TRUE(c.status != ProxyHeaderStatus::complete || cut == c.bytes.size()) << cut;
    }
    if (c.status != ProxyHeaderStatus::complete) continue;
    const ProxyHeader followed = read_exactly(c.bytes + "\x16\x03\x01");
    EXPECT_EQ(followed.bytes, c.bytes.size());
    EXPECT_EQ(names(followed), c.names);
  }
}

TEST(ProxyHeader, NoByteUnderAChecksumMayChange) {  // PP-01
  const std::string header = version_2(0x21, 0x21, v6_block + tlv(0x04, "ab") + tlv(0x03, "\x53\x7d\xbc\xd4") + tlv(0xee, "x"));
  for (std::size_t bit = 0; bit < header.size() * 8; ++bit) {
    std::string changed = header;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ 1 << bit % 8);
    const ProxyHeader read = read_exactly(changed);
    const bool is_told_by_type = bit / 8 == 16 + v6_block.size() + 5;  // of the checksum: then it is another TLV
    const bool ends_before_it = bit / 8 == 15 && read.bytes == 16 + v6_block.size();
    const bool is_of_nobody = bit / 8 == 12 || bit / 8 == 13;           // LOCAL, UDP and the like
    if (is_of_nobody) {
      ASSERT_EQ(names(read), own) << bit;
    } else if (!is_told_by_type && !ends_before_it) {
      ASSERT_NE(read.status, ProxyHeaderStatus::complete) << bit;
    }
  }
}

TEST(ProxyHeader, WhatIsWrittenIsRead) {
  const std::uint64_t salt = 71;
  SLUICE_TRACE_SEED();
  test::Random random(salt);
  for (std::uint64_t i = 0; i < test::tries(20'000); ++i) {
    FlowKey key;
    const bool is_v4 = random.one_in(2);
    const auto address = [&] {
      const IpAddress six{random.word(), random.word()};
      return is_v4 ? IpAddress::v4(be32(static_cast<std::uint32_t>(random.word()))) : six;
    };
    key.source = address();
    key.destination = address();
    key.source_port = be16(static_cast<std::uint16_t>(random.word()));
    key.destination_port = be16(static_cast<std::uint16_t>(random.word()));
    key.protocol = protocol::tcp;
    for (const ProxyProtocol version : {ProxyProtocol::version_1, ProxyProtocol::version_2}) {
      std::array<std::byte, proxy_header_bytes_max> bytes;
      const std::size_t count = write_proxy_header(version, key, bytes);
      const ProxyHeader header = read_proxy_header(std::span(bytes).first(count));
      ASSERT_EQ(header.status, ProxyHeaderStatus::complete) << names(header);
      ASSERT_EQ(header.bytes, count);
      ASSERT_EQ(header.from_client, key);
    }
  }
}

TEST(ProxyHeader, AnyByteChangedIsStillReadWithinBounds) {
  SLUICE_TRACE_SEED();
  test::Random random(72);
  for (const Case& c : cases()) {
    for (std::size_t at = 0; at < c.bytes.size(); ++at) {
      std::string changed = c.bytes;
      changed[at] = static_cast<char>(random.word());
      const ProxyHeader header = read_exactly(changed);
      ASSERT_LE(header.bytes, changed.size()) << c.name;
    }
  }
}

}  // namespace
}  // namespace sluice::proxy_protocol_test

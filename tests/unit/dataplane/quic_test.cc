// Which server a QUIC packet names. tests/fuzz/quic.cc looks at what no table of cases thinks of.
#include "dataplane/net/quic.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::quic_test {
namespace {

using Status = QuicServerId::Status;

struct Case {
  const char* name;
  std::string datagram;
  bool is_quic;
  Status status = Status::unroutable;
  std::string server_id = "";
};

class Quic : public testing::TestWithParam<Case> {};

TEST_P(Quic, NamesItsServer) {
  const Case& c = GetParam();
  const auto bytes = std::as_bytes(std::span(c.datagram));
  const auto destination = read_quic_destination(bytes);
  ASSERT_EQ(destination.has_value(), c.is_quic);
  if (!destination) return;
  const QuicServerId id = read_quic_server_id(destination->cid, QuicRouting::unpacked(QuicRouting{2, 3}.packed()));
  EXPECT_EQ(id.status, c.status);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()), c.server_id);
}

std::string of(std::initializer_list<int> bytes) { return {bytes.begin(), bytes.end()}; }

const std::string cid = of({0x40 | 7}) + "abc" + "nnnn";  // rotation 2, three bytes of server ID, the shortest nonce
const std::string version = of({0xc0, 0, 0, 0, 1});

INSTANTIATE_TEST_SUITE_P(
    All, Quic,
    testing::Values(Case{"short_header", of({0x40}) + cid + "payload", true, Status::found, "abc"},
                    Case{"short_header_that_ends_with_it", of({0x40}) + cid, true, Status::found, "abc"},
                    Case{"short_header_of_a_greased_bit", of({0x00}) + cid, true, Status::found, "abc"},
                    Case{"nonce_too_short", of({0x40}) + cid.substr(0, 7), true},
                    Case{"other_rotation", of({0x40, 0x20}) + "abcnnnn", true},
                    Case{"server_without_configuration", of({0x40, 0xff}), true, Status::by_five_tuple},
                    Case{"long_header", version + of({8}) + cid + of({0}), true, Status::found, "abc"},
                    Case{"long_header_of_any_version", of({0x80, 9, 9, 9, 9, 8}) + cid, true, Status::found, "abc"},
                    Case{"long_header_whose_cid_is_short", version + of({7}) + cid, true},
                    Case{"long_header_without_cid", version + of({0, 0}), true},
                    Case{"long_header_cut_in_its_cid", version + of({9}) + cid, false},
                    Case{"long_header_cut_before_it", version, false}, Case{"one_byte", of({0x40}), false},
                    Case{"nothing", "", false}),
    [](const testing::TestParamInfo<Case>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace sluice::quic_test

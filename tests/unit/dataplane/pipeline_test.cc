// Verdicts of the pipeline that no packet from a wire alone can bring about.
#include <gtest/gtest.h>

#include "dataplane/pipeline/stages.h"
#include "tests/traces/bed.h"

namespace sluice::pipeline_test {
namespace {

std::unique_ptr<trace::Bed> usual_bed() {
  trace::Model model;
  EXPECT_TRUE(model.change({"neighbors", "manual"}));
  EXPECT_TRUE(model.change({"cluster", "web", "{", "endpoint", "10.2.0.11:80", "}", "vip", "10.9.0.1:80/tcp", "{", "cluster", "web", "}"}));
  auto bed = trace::Bed::create(model);
  EXPECT_TRUE(bed) << bed.error().message;
  return std::move(*bed);
}

trace::PacketText question(const char* kind, const char* flag, const char* target, const char* sender) {
  trace::PacketText text;
  text.kind = kind;
  text.flags = {flag};
  text.options = {{"target", target}, {"sender", sender}};
  return text;
}

TEST(Pipeline, AnAnswerForWhichThereIsNoRoomIsDropNoBuffer) {
  const auto bed = usual_bed();
  const IpAddress own = *IpAddress::parse("10.1.0.1");
  const MacAddress gateway{{2, 4, 10, 1, 0, 254}};
  for (const auto& text : {question("arp", "request", "10.9.0.1", "10.1.0.254"), question("nd", "solicit", "fd00:1::1", "fd00:1::fe")}) {
    while (bed->world(0).generated.room() > 0) ASSERT_TRUE(announce_address(bed->world(0), own, 0));
    const auto frame = trace::build_frame(text, gateway, bed->port_mac(0), 1);
    ASSERT_TRUE(frame);
    EXPECT_EQ(bed->receive(0, {*frame, 0}), trace::Fate{Verdict::drop_no_buffer});
    EXPECT_EQ(bed->outputs.size(), 128u);  // those that had filled it
    bed->outputs.clear();
    EXPECT_EQ(bed->receive(0, {*frame, 0}), trace::Fate{Verdict::absorb});
    bed->outputs.clear();
  }
  EXPECT_TRUE(bed->take_faults().empty());
}

TEST(Pipeline, WhatTheReceiverHasDecidedStaysUntouched) {
  const auto bed = usual_bed();
  Burst burst;
  for (int i = 0; i < 3; ++i) burst.add().verdict = Verdict::drop_segmented;  // no data: whoever looked would fall
  World& world = bed->world(0);
  process_burst(world, burst);
  for (const Packet& packet : burst.all()) EXPECT_EQ(packet.verdict, Verdict::drop_segmented);
  count_verdicts(world, burst);
  EXPECT_EQ(world.counters.of(Verdict::drop_segmented).read(), 3u);
}

}  // namespace
}  // namespace sluice::pipeline_test

// MG-01, MG-04 and SN-04 in process: a thousand random changes of a cluster under live flows on three lcores break no flow but
// those of removed endpoints, send new flows only to endpoints that are up, and never give one SNAT port to two flows.
#include "tests/traces/bed.h"
#include "tests/unit/dataplane/property.h"

namespace sluice::churn_test {
namespace {

using trace::Bed;
using trace::PacketText;

constexpr std::size_t endpoint_count = 100;
constexpr std::size_t first_host = 110;  // behind our own and the SNAT addresses
constexpr std::size_t edit_count = 1'000;
constexpr std::size_t flows_max = 2'000;

struct LiveFlow {
  std::uint16_t client_port = 0;
  std::size_t endpoint = 0;
  std::string snat_address, snat_port;
};

class Churn {
 public:
  Churn() : random_(70), states_(endpoint_count, State::absent) {}

  void run() {
    ASSERT_TRUE(model_.change({"lcores", "3", ";", "flows", "12288"}));
    ASSERT_TRUE(model_.change({"cluster", "web", "{", "choice", "least", ";", "}", "vip", "10.9.0.1:80/tcp", "{", "cluster", "web", "}"}));
    for (std::size_t i = 0; i < endpoint_count; ++i) set(i, State::up, "up");
    auto bed = Bed::create(model_);
    ASSERT_TRUE(bed) << bed.error().message;
    bed_ = std::move(*bed);
    bed_->checks_flows_often = false;
    const std::size_t edits = test::tries(edit_count);
    for (std::size_t edit = 0; edit < edits; ++edit) {
      change_something();
      for (int i = 0; i < 4 && flows_.size() < flows_max; ++i) open();
      for (int i = 0; i < 20 && !flows_.empty(); ++i) talk(flows_[random_.below(flows_.size())]);
      bed_->advance(10);
      if (edit % 50 == 0) bed_->check_flows();
      const auto faults = bed_->take_faults();
      ASSERT_TRUE(faults.empty()) << "edit " << edit << ": " << faults.front();
      if (testing::Test::HasFatalFailure()) return;
    }
    for (const LiveFlow& flow : flows_) talk(flow);
    EXPECT_EQ(bed_->flow_count(), flows_.size());
    EXPECT_GT(removed_count_, edits / 50);
    EXPECT_GT(flows_.size(), edits / 2);
    bed_->check_flows();
    EXPECT_TRUE(bed_->take_faults().empty());
  }

 private:
  enum class State { absent, up, not_taking };

  static std::string address_of(std::size_t endpoint) { return "10.2.0." + std::to_string(first_host + endpoint); }

  void set(std::size_t endpoint, State state, const std::string& word) {
    states_[endpoint] = state;
    ASSERT_TRUE(model_.change({"cluster", "web", "endpoint", address_of(endpoint) + ":8080", word}));
  }

  void change_something() {
    const std::size_t endpoint = random_.below(endpoint_count);
    const auto present = static_cast<std::size_t>(std::count_if(states_.begin(), states_.end(), [](State state) { return state != State::absent; }));
    const bool is_absent = states_[endpoint] == State::absent;
    bool is_removal = false;
    if (is_absent) {
      set(endpoint, State::up, "up");
    } else {
      switch (random_.below(6)) {
        case 0:
          if (present <= 3) break;
          set(endpoint, State::absent, "remove");
          is_removal = true;
          break;
        case 1: set(endpoint, State::not_taking, "drain"); break;
        case 2: set(endpoint, State::not_taking, "down"); break;
        case 3:
          ASSERT_TRUE(model_.change({"cluster", "web", "endpoint", address_of(endpoint) + ":8080", "weight", std::to_string(1 + random_.below(9))}));
          break;
        default: set(endpoint, State::up, "up"); break;
      }
    }
    ASSERT_TRUE(bed_->publish(model_));
    if (!is_removal) return;
    ++removed_count_;
    bed_->advance(2'100);  // one round of the sweep
    for (std::size_t i = 0; i < flows_.size();) {
      if (flows_[i].endpoint != endpoint) {
        ++i;
        continue;
      }
      const auto fate = send(segment(flows_[i].client_port, {"ack"}));
      ASSERT_EQ(fate.back(), Verdict::drop_no_flow);
      flows_[i] = flows_.back();
      flows_.pop_back();
    }
  }

  PacketText segment(std::uint16_t client_port, std::set<std::string> flags) {
    PacketText text;
    text.kind = "tcp";
    text.source = "198.51.100.7";
    text.source_port = std::to_string(client_port);
    text.destination = "10.9.0.1";
    text.destination_port = "80";
    text.options["seq"] = flags.contains("syn") ? "1000" : "1001";
    text.flags = std::move(flags);
    return text;
  }
  PacketText reply(const LiveFlow& flow, std::set<std::string> flags) {
    PacketText text;
    text.kind = "tcp";
    text.source = address_of(flow.endpoint);
    text.source_port = "8080";
    text.destination = flow.snat_address;
    text.destination_port = flow.snat_port;
    text.flags = std::move(flags);
    return text;
  }

  trace::Fate send(const PacketText& text) {
    bed_->outputs.clear();
    const IpAddress source = *IpAddress::parse(text.source);
    const std::uint16_t port = bed_->port_for(source);
    const auto frame = trace::build_frame(text, bed_->mac_of(bed_->model().hop_to(source)->address), bed_->port_mac(port), ++number_);
    EXPECT_TRUE(frame);
    return bed_->receive(static_cast<std::uint32_t>(random_.below(3)), {*frame, port});
  }

  void open() {
    LiveFlow flow;
    flow.client_port = next_port_++;
    const auto fate = send(segment(flow.client_port, {"syn"}));
    const bool is_any_up = std::find(states_.begin(), states_.end(), State::up) != states_.end();
    ASSERT_EQ(fate.back(), is_any_up ? Verdict::forward : Verdict::reject_no_endpoint);
    if (!is_any_up) return;
    ASSERT_EQ(bed_->outputs.size(), 1u);
    const PacketText sent = trace::read_frame(bed_->outputs.front().frame);
    flow.endpoint = std::stoul(sent.destination.substr(sent.destination.rfind('.') + 1)) - first_host;
    flow.snat_address = sent.source;
    flow.snat_port = sent.source_port;
    ASSERT_EQ(states_[flow.endpoint], State::up);
    ASSERT_EQ(send(reply(flow, {"syn", "ack"})).back(), Verdict::forward);
    ASSERT_EQ(send(segment(flow.client_port, {"ack"})).back(), Verdict::forward);
    flows_.push_back(flow);
  }

  void talk(const LiveFlow& flow) {
    ASSERT_EQ(send(segment(flow.client_port, {"ack", "psh"})).back(), Verdict::forward);
    const PacketText there = trace::read_frame(bed_->outputs.front().frame);
    ASSERT_EQ(there.destination, address_of(flow.endpoint));
    ASSERT_EQ(there.source_port, flow.snat_port);
    ASSERT_EQ(send(reply(flow, {"ack"})).back(), Verdict::forward);
    const PacketText back = trace::read_frame(bed_->outputs.front().frame);
    ASSERT_EQ(back.destination_port, std::to_string(flow.client_port));
    ASSERT_EQ(back.source, "10.9.0.1");
  }

  test::Random random_;
  trace::Model model_;
  std::unique_ptr<Bed> bed_;
  std::vector<State> states_;
  std::vector<LiveFlow> flows_;
  std::uint16_t next_port_ = 1'024;
  std::uint32_t number_ = 0;
  std::size_t removed_count_ = 0;
};

TEST(Churn, ChangesBreakOnlyTheFlowsOfRemovedEndpoints) {
  SLUICE_TRACE_SEED();
  Churn().run();
}

}  // namespace
}  // namespace sluice::churn_test

// Leftovers: the flow file of a process that has died with flows of every kind in it, damaged as a script of bytes says, and
// what the next process makes of it. The unit test makes its scripts up at random, the fuzz target lets libFuzzer do it.
//
// A script begins with a byte for the shape that the next process wants (how many records, lcores, splices); then come steps:
// bits that flip, words overwritten, lines torn, records copied and exchanged, the file cut or lengthened, headers changed.
// Some steps seal what they have changed again. After these nobody can tell what was there before; without them (what is
// called damage here) a flow that goes on must go on exactly as before, to the byte.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/flow/flow_file.h"
#include "dataplane/pipeline/world.h"
#include "tests/traces/bed.h"

namespace sluice::trace {

class Leftovers {
 public:
  // `path`: of a file that is made anew for every try, best on a tmpfs. Removed with the object.
  static Result<std::unique_ptr<Leftovers>> create(std::string path);
  ~Leftovers();

  // What is wrong with what the next process did; empty when nothing is.
  std::string damage_and_take_over(std::span<const std::uint8_t> script);

  // Of the last try.
  struct Outcome {
    bool is_begun_anew = false;  // nothing in the file was believed
    bool is_forged = false;      // the script has sealed something
    std::uint64_t taken_over = 0;
    std::uint64_t named = 0;  // of these, how many still have the client that a PROXY header named
  };
  const Outcome& outcome() const { return outcome_; }
  std::size_t flow_count() const { return flows_.size(); }  // in the file as it was left
  std::uint64_t named_count() const { return named_count_; }

 private:
  struct LeftFlow {
    FlowKey from_client, to_endpoint;
    Bytes to_vip, at_endpoint;   // a frame of the client's, and as it must leave
    Bytes to_us, at_client;      // of the endpoint's; empty when none pass us
  };
  Leftovers() = default;
  Result<void> live();
  Result<void> add_flow(const std::string& client, const std::string& vip, const std::string& protocol, std::uint32_t lcore);
  Result<void> add_splice(const std::string& client, std::uint32_t lcore);
  Result<void> say_more(PacketText client, PacketText endpoint, std::uint32_t lcore);
  std::optional<Output> send(std::uint32_t lcore, const PacketText& text, std::uint16_t port);
  Bytes frame_of(const PacketText& text, std::uint16_t port);
  std::vector<std::unique_ptr<World>>& worlds_for(std::uint32_t lcore_count);
  std::vector<std::uint8_t> damaged(std::span<const std::uint8_t> script);
  std::string check_records(std::span<const std::unique_ptr<World>> worlds);
  std::string check_traffic(std::span<const std::unique_ptr<World>> worlds);
  std::string check_end(std::span<const std::unique_ptr<World>> worlds);

  std::string path_;
  std::unique_ptr<Bed> bed_;
  std::vector<LeftFlow> flows_;
  std::vector<std::uint8_t> image_;  // the file as it was left
  std::vector<std::unique_ptr<SharedLimits>> shared_limits_;  // by lcore count
  std::vector<std::vector<std::unique_ptr<World>>> worlds_;  // by lcore count
  std::vector<FlowRecord> nothing_{1};
  std::uint64_t named_count_ = 0;
  Outcome outcome_;
};

}  // namespace sluice::trace

#include "dataplane/io/steering.h"

#include <fmt/core.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <bit>

namespace sluice {
namespace {

constexpr std::uint64_t handed_share_max = 8;  // one in so many may be handed over: a way is judged by most packets
constexpr std::size_t buckets_max = 4'096;

bool is_same_hash(const RssFacts& a, const RssFacts& b) {
  return std::equal(a.key.begin(), a.key.begin() + toeplitz_key_bytes_min, b.key.begin()) && a.hash_fields == b.hash_fields;
}

// By the lower bits of the hash; one table can be the other, repeated.
bool is_same_table(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b) {
  const std::size_t size = std::max(a.size(), b.size());
  for (std::size_t i = 0; i < size; ++i) {
    if (a[i % a.size()] != b[i % b.size()]) return false;
  }
  return true;
}

std::vector<std::uint8_t> lcores_of(const RssFacts& rss, std::uint32_t worker_count) {
  std::vector<std::uint8_t> lcores;
  for (const std::uint16_t queue : rss.queue_of_bucket) lcores.push_back(static_cast<std::uint8_t>(queue % worker_count));
  return lcores;
}

std::string queues_problem(std::uint16_t queue_count, std::uint32_t worker_count) {
  return fmt::format("{} for {} workers", queue_count == 1 ? "one queue" : fmt::format("{} queues", queue_count), worker_count);
}

// Why the port cannot bring replies by their hash; empty: it can.
std::string hash_problem(const SteeringCandidate& candidate, std::uint32_t worker_count) {
  if (candidate.queue_count < worker_count) return queues_problem(candidate.queue_count, worker_count);
  if (!candidate.rss) return candidate.rss.error().message;
  const RssFacts& rss = *candidate.rss;
  if (rss.key.size() < toeplitz_key_bytes_min) return fmt::format("a hash key of {} bytes is too short", rss.key.size());
  if (!std::has_single_bit(rss.queue_of_bucket.size()) || rss.queue_of_bucket.size() > buckets_max) {
    return fmt::format("a table of {} entries cannot be indexed by hash", rss.queue_of_bucket.size());
  }
  const std::vector<std::uint8_t> lcores = lcores_of(rss, worker_count);
  for (std::uint32_t lcore = 0; lcore < worker_count; ++lcore) {
    if (std::count(lcores.begin(), lcores.end(), lcore) == 0) return fmt::format("its table leads no packet to worker {}", lcore);
  }
  if ((rss.hash_fields & (RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP)) == 0) return "it does not hash TCP ports";
  return {};
}

ReplyHash reply_hash_of(const RssFacts& rss, std::uint32_t worker_count) {
  const auto has = [&](std::uint64_t field) { return (rss.hash_fields & field) != 0; };
  return {Toeplitz(rss.key),
          lcores_of(rss, worker_count),
          has(RTE_ETH_RSS_NONFRAG_IPV4_TCP),
          has(RTE_ETH_RSS_NONFRAG_IPV4_UDP),
          has(RTE_ETH_RSS_NONFRAG_IPV6_TCP),
          has(RTE_ETH_RSS_NONFRAG_IPV6_UDP)};
}

class Planner {
 public:
  explicit Planner(std::uint32_t worker_count) : worker_count_(worker_count) {}

  SteeringChoice choose(const SteeringCandidate& candidate) {
    if (worker_count_ == 1) return {Steering::none, "one worker sees every packet"};
    std::string refused;
    const auto refuse = [&](Steering way, const std::string& why) {
      refused += fmt::format("{}{}: {}", refused.empty() ? "" : "; ", name_of(way), why);
    };
    for (const Steering way : candidate.ways) {
      if (way == Steering::snat_port_hash) {
        const std::string problem = join_hash(candidate);
        if (problem.empty()) {
          return {way, candidate.rss->is_declared ? fmt::format("key and table as profile {} declares them", candidate.profile)
                                                  : "key and table read back from the device"};
        }
        refuse(way, problem);
      } else if (way == Steering::flow_rules) {
        if (!plan.hash && candidate.queue_count >= worker_count_) return {way, refused};
        refuse(way, plan.hash ? fmt::format("flows belong where port {} hashes them", hashing_)
                              : queues_problem(candidate.queue_count, worker_count_));
      }
    }
    return {Steering::handoff,
            refused.empty() ? fmt::format("profile {} knows no better; replies to other workers' flows cross a ring", candidate.profile)
                            : refused};
  }

  SteeringPlan plan;

 private:
  // Why not; empty: it hashes as the box does.
  std::string join_hash(const SteeringCandidate& candidate) {
    const std::string problem = hash_problem(candidate, worker_count_);
    if (!problem.empty()) return problem;
    const RssFacts& rss = *candidate.rss;
    if (!plan.hash) {
      plan.hash = reply_hash_of(rss, worker_count_);
      first_ = rss;
      hashing_ = candidate.name;
      return {};
    }
    const bool is_same = is_same_hash(rss, first_) && is_same_table(lcores_of(rss, worker_count_), plan.hash->lcore_of_bucket);
    return is_same ? std::string() : fmt::format("its key, table or hash fields are not those of port {}", hashing_);
  }

  std::uint32_t worker_count_;
  RssFacts first_;
  std::string hashing_;  // the first port that hashes
};

}  // namespace

std::string_view name_of(Steering way) {
  switch (way) {
    case Steering::none: return "NONE";
    case Steering::snat_port_hash: return "SNAT_PORT_HASH";
    case Steering::flow_rules: return "FLOW_RULES";
    case Steering::handoff: return "HANDOFF";
  }
  return "HANDOFF";
}

SteeringPlan plan_steering(std::span<const SteeringCandidate> candidates, std::uint32_t worker_count) {
  Planner planner(worker_count);
  std::vector<SteeringChoice> choices;
  for (const SteeringCandidate& candidate : candidates) choices.push_back(planner.choose(candidate));
  planner.plan.choices = std::move(choices);
  return std::move(planner.plan);
}

std::vector<std::uint8_t> own_rss_key(HashSecret seed, std::size_t bytes) {
  std::vector<std::uint8_t> key;
  for (std::uint64_t word = 0; key.size() < bytes; ++word) {
    const std::uint64_t mixed = keyed_hash(seed, 0x5253'5320'6b65'7900ull + word, word);
    for (unsigned shift = 0; shift < 64 && key.size() < bytes; shift += 8) key.push_back(static_cast<std::uint8_t>(mixed >> shift));
  }
  return key;
}

std::string_view name_of(SteeringProof::State state) {
  switch (state) {
    case SteeringProof::State::open: return "open";
    case SteeringProof::State::kept: return "kept";
    case SteeringProof::State::broken: return "broken";
  }
  return "open";
}

bool SteeringProof::observe(std::uint64_t arrived, std::uint64_t handed) {
  const std::uint64_t new_handed = handed - handed_, all = arrived - arrived_ + new_handed;
  if (state_ == State::broken || all < replies_min) return false;
  const State next = new_handed > all / handed_share_max ? State::broken : State::kept;
  arrived_ = arrived;
  handed_ = handed;
  return std::exchange(state_, next) != next;
}

}  // namespace sluice

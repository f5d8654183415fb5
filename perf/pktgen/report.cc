#include "perf/pktgen/report.h"

#include <fmt/core.h>

#include <cmath>

#include "dataplane/base/json_writer.h"
#include "perf/common/frame.h"

namespace sluice::perf {
namespace {

double gigabits(double packets_per_second, double frame_bytes) {
  return packets_per_second * (frame_bytes + wire_overhead_bytes) * 8 / 1e9;
}

void write(JsonWriter& json, std::string_view name, const Quantiles& quantiles) {
  json.key(name).open_object();
  json.field("count", quantiles.count)
      .field("min_ns", quantiles.min)
      .field("p50_ns", quantiles.p50);
  json.field("p90_ns", quantiles.p90)
      .field("p99_ns", quantiles.p99)
      .field("p999_ns", quantiles.p999);
  json.field("max_ns", quantiles.max).close_object();
}

void write(JsonWriter& json, std::string_view name, const CountsSeen& counts) {
  json.key(name).open_object();
  for (std::size_t i = 0; i < count_kinds; ++i) json.field(count_texts[i].name, counts.values[i]);
  json.field("lost", counts.lost()).close_object();
}

std::uint64_t whole(double value) {
  return std::isinf(value) ? 0 : static_cast<std::uint64_t>(std::llround(value));
}

std::string percent(std::uint64_t part, std::uint64_t of) {
  if (of == 0) return "-";
  return fmt::format("{:.4f} %", 100.0 * static_cast<double>(part) / static_cast<double>(of));
}

}  // namespace

Quantiles Quantiles::of(const Histogram& histogram) {
  if (histogram.total() == 0) return {};
  return {histogram.total(),       histogram.min(),          histogram.quantile(0.5),
          histogram.quantile(0.9), histogram.quantile(0.99), histogram.quantile(0.999),
          histogram.max()};
}

std::string short_number(double value) {
  if (std::isinf(value)) return "max";
  if (value >= 999.5e3) return fmt::format("{:.2f} M", value / 1e6);
  if (value >= 9'999.5) return fmt::format("{:.1f} k", value / 1e3);
  return fmt::format("{:.0f}", value);
}

std::string short_time(std::uint64_t ns) {
  const auto value = static_cast<double>(ns);
  if (ns < 1'000) return fmt::format("{} ns", ns);
  if (ns < 1'000'000) return fmt::format("{:.1f} us", value / 1e3);
  return fmt::format("{:.2f} ms", value / 1e6);
}

void Report::add_fact(std::string name, std::string value) {
  facts_.emplace_back(std::move(name), std::move(value));
}

void Report::print() const {
  if (!throughputs_.empty()) print_throughputs();
  if (!steps_.empty()) print_steps();
  print_counts();
}

void Report::print_steps() const {
  const bool has_handshakes = steps_[0].latency.count == 0 && steps_[0].handshake.count > 0;
  fmt::print("\n{:>10}{:>12}{:>12}{:>9}{:>11}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}\n", "offered/s",
             counts_connections_ ? "opened/s" : "sent/s",
             counts_connections_ ? "closed/s" : "back/s", "Gbit/s",
             counts_connections_ ? "failed" : "lost", "share", "reordered",
             has_handshakes ? "SYN p50" : "p50", "p99", "p99.9", "max");
  for (const Step& step : steps_) {
    const double seconds = std::max(step.seconds, 1e-9);
    const auto rate = [&](Count kind) { return static_cast<double>(step.counts[kind]) / seconds; };
    const double in = rate(counts_connections_ ? Count::opened : Count::sent);
    const double out = rate(counts_connections_ ? Count::closed : Count::received);
    const std::uint64_t failed = counts_connections_
                                     ? step.counts[Count::timed_out] + step.counts[Count::resets]
                                     : step.counts.lost();
    const Quantiles& times = has_handshakes ? step.handshake : step.latency;
    fmt::print("{:>10}{:>12}{:>12}{:>9.2f}{:>11}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
               short_number(step.offered), short_number(in), short_number(out),
               static_cast<double>(step.counts[Count::sent_bytes] +
                                   step.counts[Count::sent] * wire_overhead_bytes) *
                   8 / seconds / 1e9,
               failed,
               percent(failed, step.counts[counts_connections_ ? Count::opened : Count::requests]),
               step.counts[Count::reordered], short_time(times.p50), short_time(times.p99),
               short_time(times.p999), short_time(times.max));
  }
}

void Report::print_throughputs() const {
  fmt::print("\n{:>6}{:>14}{:>9}{:>8}{:>10}{:>10}{:>10}{:>10}\n", "size", "packets/s", "Gbit/s",
             "trials", "p50", "p99", "p99.9", "max");
  for (const Throughput& one : throughputs_) {
    fmt::print("{:>6}{:>14}{:>9.2f}{:>8}{:>10}{:>10}{:>10}{:>10}\n", one.size,
               short_number(one.packets_per_second), gigabits(one.packets_per_second, one.size),
               one.trials.size(), short_time(one.latency.p50), short_time(one.latency.p99),
               short_time(one.latency.p999), short_time(one.latency.max));
  }
}

void Report::print_counts() const {
  fmt::print("\n");
  for (std::size_t i = 0; i < count_kinds; ++i) {
    if (totals_.values[i] == 0) continue;
    fmt::print("{:>16}  {:<17}{}\n", totals_.values[i], count_texts[i].name, count_texts[i].text);
  }
  if (losses_.flows_with_loss > 0) {
    fmt::print("{:>16}  {:<17}with packets that did not come back; the worst lost {}\n",
               losses_.flows_with_loss, "flows", losses_.worst_loss);
  }
  if (losses_.flows_reordered > 0) {
    fmt::print("{:>16}  {:<17}with reordered packets\n", losses_.flows_reordered, "flows");
  }
  if (losses_.twice > 0) fmt::print("{:>16}  {:<17}came back twice\n", losses_.twice, "packets");
  if (const std::uint64_t broken = totals_.broken(); broken > 0) {
    fmt::print("\nBROKEN: {} packets should never have been there\n", broken);
  }
}

std::string Report::json() const {
  JsonWriter json;
  json.open_object().key("facts").open_object();
  for (const auto& [name, value] : facts_) json.field(name, value);
  json.close_object().key("steps").open_array();
  for (const Step& step : steps_) {
    json.open_object().field("offered_per_second", whole(step.offered));
    json.field("is_unlimited", std::isinf(step.offered));
    json.field("microseconds", whole(step.seconds * 1e6))
        .field("frame_bytes", whole(step.frame_bytes));
    write(json, "counts", step.counts);
    write(json, "latency", step.latency);
    write(json, "handshake", step.handshake);
    json.close_object();
  }
  json.close_array().key("rfc2544").open_array();
  for (const Throughput& one : throughputs_) {
    json.open_object().field("size", one.size);
    json.field("packets_per_second", whole(one.packets_per_second)).key("trials").open_array();
    for (const auto& [rate, lost] : one.trials) {
      json.open_object()
          .field("packets_per_second", whole(rate))
          .field("lost", lost)
          .close_object();
    }
    json.close_array();
    write(json, "latency", one.latency);
    json.close_object();
  }
  json.close_array().key("flows").open_object();
  json.field("with_loss", losses_.flows_with_loss).field("worst_loss", losses_.worst_loss);
  json.field("reordered", losses_.flows_reordered).field("unused", losses_.flows_unused);
  json.field("twice", losses_.twice).close_object();
  write(json, "totals", totals_);
  json.close_object();
  return json.text() + "\n";
}

}  // namespace sluice::perf

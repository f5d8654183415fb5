#include "dataplane/lcore/watching.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "dataplane/base/json_writer.h"
#include "dataplane/base/log.h"
#include "dataplane/lcore/clock.h"
#include "dataplane/net/pcapng.h"
#include "dataplane/pipeline/walk.h"

namespace sluice {
namespace {

constexpr std::size_t drain_count_max = 16'384;  // a call, of all lcores together
constexpr std::size_t ended_count_max = 16;      // captures that are remembered after their end
constexpr std::uint16_t snap_bytes_max = frame_bytes_max;

std::uint64_t now_ms() {
  return monotonic_ns() / 1'000'000;
}

Result<std::uint64_t> number(const ControlRequest& request, const char* name,
                             std::uint64_t fallback, std::uint64_t min, std::uint64_t max) {
  const std::string text = request.argument(name);
  if (text.empty()) return fallback;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) {
    return fail(fmt::format("{}: '{}': a number from {} to {} is expected", name, text, min, max));
  }
  return value;
}

std::string time_text(std::uint64_t time_ns) {
  const auto seconds = static_cast<time_t>(time_ns / 1'000'000'000);
  tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     time_ns % 1'000'000'000 / 1'000);
}

// A frame of the balancer's own has no verdict.
std::string ending_text(const WatchEntry& entry) {
  if (entry.verdict == Verdict::undecided) return "made by the balancer";
  return fmt::format("{}: {}", name_of(entry.verdict), help_of(entry.verdict));
}

std::string comment_of(const WatchEntry& entry) {
  std::string text = ending_text(entry);
  if (!entry.vip.view().empty()) text += fmt::format("; VIP {}", entry.vip.view());
  if (!entry.endpoint.view().empty()) text += fmt::format("; endpoint {}", entry.endpoint.view());
  if (!entry.server_name.view().empty()) text += fmt::format("; server name {}", entry.server_name.view());
  if (entry.has_named) text += fmt::format("; for {}", address_port_text(entry.named.source, entry.named.source_port));
  return text;
}

void add_walk(JsonWriter& json, const WatchEntry& entry) {
  json.open_object().field("time", time_text(entry.time_ns)).field("lcore", entry.lcore);
  json.field("port_in", entry.port_in.view()).field("port_out", entry.port_out.view());
  json.field("bytes", entry.was_received ? entry.received_bytes : entry.sent_bytes);
  json.field("before", entry.was_received ? text_before(entry) : std::string());
  json.field("after", text_after(entry));
  json.field("vip", entry.vip.view()).field("virtual_host", entry.virtual_host.view());
  json.field("endpoint", entry.endpoint.view());
  if (!entry.server_name.view().empty()) json.field("server_name", entry.server_name.view());
  if (entry.has_flow) {
    json.key("flow").open_object();
    json.field("client",
               address_port_text(entry.from_client.source, entry.from_client.source_port));
    if (entry.has_named) json.field("named_client", address_port_text(entry.named.source, entry.named.source_port));
    json.field("vip", address_port_text(entry.from_client.destination,
                                        entry.from_client.destination_port));
    json.field("snat", address_port_text(entry.from_endpoint.destination,
                                         entry.from_endpoint.destination_port));
    json.field("endpoint",
               address_port_text(entry.from_endpoint.source, entry.from_endpoint.source_port));
    json.field("state", name_of(entry.flow_state))
        .field("is_new", entry.is_flow_new)
        .close_object();
  }
  json.key("stages").open_array();
  for (const WalkStep& step : walk_of(entry)) {
    json.open_object().field("stage", step.stage).field("text", step.text).close_object();
  }
  json.close_array();
  const bool is_own = entry.verdict == Verdict::undecided;
  json.field("verdict", is_own ? "generated" : name_of(entry.verdict));
  json.field("help", is_own ? std::string_view("made by the balancer") : help_of(entry.verdict))
      .close_object();
}

}  // namespace

Watching::~Watching() {
  for (auto& [id, job] : jobs_) {
    if (job.is_running) end(job, "the dataplane ends");
  }
  (void)show();
  // An lcore that did not let go within 2 s is stopped by the engine next; what it may look at must
  // stay until then.
  for (auto& watch : stale_) (void)watch.release();
}

Result<std::uint32_t> Watching::add(Job job, const ControlRequest& request) {
  const auto running = std::count_if(jobs_.begin(), jobs_.end(),
                                     [](const auto& known) { return known.second.is_running; });
  if (static_cast<std::size_t>(running) >= Watch::jobs_max) {
    return fail(fmt::format("{} traces and captures run already; end one, with `capture stop ID`",
                            running));
  }
  auto filter = PacketFilter::parse(request.payload, engine_.tables());
  if (!filter) return tl::unexpected(filter.error());
  const std::uint32_t id = next_id_++;
  job.watch.id = id;
  job.watch.filter = std::move(*filter);
  jobs_.emplace(id, std::move(job));
  if (auto shown = show(); !shown) {
    jobs_.erase(id);
    return tl::unexpected(shown.error());
  }
  return id;
}

Result<void> Watching::show() {
  std::vector<WatchJob> running;
  for (const auto& [id, job] : jobs_) {
    if (job.is_running) running.push_back(job.watch);
  }
  std::vector<std::unique_ptr<Watch>> next;
  std::vector<Watch*> by_worker;
  for (std::size_t i = 0; i < engine_.workers().size(); ++i) {
    if (!running.empty()) next.push_back(std::make_unique<Watch>(running));
    by_worker.push_back(running.empty() ? nullptr : next.back().get());
  }
  has_ended_ = false;
  const bool is_taken = engine_.show_watch(by_worker);
  drain(SIZE_MAX);
  for (auto& watch : watches_) {
    for (std::size_t i = 0; i < watch->jobs().size(); ++i) {
      if (const auto found = jobs_.find(watch->jobs()[i].id); found != jobs_.end())
        found->second.lost += watch->lost(i);
    }
  }
  if (is_taken) {
    stale_.clear();
  } else {
    std::move(watches_.begin(), watches_.end(), std::back_inserter(stale_));
  }
  watches_ = std::move(next);
  if (!is_taken) return fail("a worker lcore does not answer; is its CPU held by another task?");
  return {};
}

void Watching::look() {
  if (jobs_.empty()) return;
  drain(drain_count_max);
  const std::uint64_t now = now_ms();
  for (auto& [id, job] : jobs_) {
    if (job.capture) flush(job);
    if (!job.is_running) continue;
    if (job.trace && now > job.trace->read_ms + trace_idle.count) end(job, "nobody reads it");
    if (job.capture && now >= job.capture->ends_ms) end(job, "its time is over");
  }
  if (has_ended_) {
    if (auto shown = show(); !shown) log_warning("trace and capture: {}", shown.error().message);
  }
  // Traces that nobody reads, and the oldest captures, are forgotten.
  std::erase_if(jobs_, [&](const auto& known) {
    return known.second.trace && now > known.second.trace->read_ms + trace_idle.count;
  });
  auto ended = std::count_if(jobs_.begin(), jobs_.end(), [](const auto& known) {
    return !known.second.is_running && known.second.capture;
  });
  for (auto at = jobs_.begin();
       at != jobs_.end() && static_cast<std::size_t>(ended) > ended_count_max;) {
    const bool goes = at->second.capture && !at->second.is_running;
    at = goes ? jobs_.erase(at) : std::next(at);
    ended -= goes ? 1 : 0;
  }
}

void Watching::drain(std::size_t count_max) {
  for (auto& watch : watches_) {
    count_max -= watch->drain(
        count_max, [&](const WatchEntry& entry, std::span<const std::byte> received,
                       std::span<const std::byte> sent) { take(entry, received, sent); });
  }
}

void Watching::take(const WatchEntry& entry, std::span<const std::byte> received,
                    std::span<const std::byte> sent) {
  const auto found = jobs_.find(entry.job);
  if (found == jobs_.end() || !found->second.is_running) return;
  Job& job = found->second;
  if (job.trace) {
    job.trace->entries.push_back(entry);
    if (++job.trace->count == job.trace->count_max) end(job, {});
    return;
  }
  Capture& capture = *job.capture;
  if (!received.empty()) write(capture, job.watch, entry, false, received);
  // What waits for its next hop is written when it leaves.
  if (!sent.empty() && entry.verdict != Verdict::hold) write(capture, job.watch, entry, true, sent);
  if (capture.packets >= capture.count_max) {
    end(job, "all packets are there");
  } else if (capture.bytes + capture.buffer.size() > file_bytes_max) {
    end(job, fmt::format("the file has {} bytes", file_bytes_max));
  } else if (capture.buffer.size() > (1u << 20)) {
    flush(job);
  }
}

void Watching::write(Capture& capture, const WatchJob& job, const WatchEntry& entry,
                     bool is_outbound, std::span<const std::byte> bytes) {
  if (capture.packets >= capture.count_max) return;
  const std::string_view name = (is_outbound ? entry.port_out : entry.port_in).view();
  auto found = std::find(capture.interfaces.begin(), capture.interfaces.end(), name);
  if (found == capture.interfaces.end()) {
    append_pcapng_interface(capture.buffer, name, job.snap_bytes);
    found = capture.interfaces.insert(capture.interfaces.end(), std::string(name));
  }
  PcapngPacket packet;
  packet.interface = static_cast<std::uint32_t>(found - capture.interfaces.begin());
  packet.time_ns = entry.time_ns;
  packet.is_outbound = is_outbound;
  packet.frame_bytes = is_outbound ? entry.sent_bytes : entry.received_bytes;
  packet.bytes = bytes;
  const std::string comment = comment_of(entry);
  packet.comment = comment;
  append_pcapng_packet(capture.buffer, packet);
  ++capture.packets;
}

void Watching::flush(Job& job) {
  Capture& capture = *job.capture;
  if (capture.buffer.empty() || !capture.file) return;
  std::size_t written = 0;
  while (written < capture.buffer.size()) {
    const ssize_t count = ::write(capture.file.get(), capture.buffer.data() + written,
                                  capture.buffer.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    written += static_cast<std::size_t>(count);
  }
  if (written == capture.buffer.size()) {
    capture.bytes += written;
    capture.buffer.clear();
    return;
  }
  const std::string reason = fmt::format("the file does not take more: {}", strerror(errno));
  if (ftruncate(capture.file.get(), static_cast<off_t>(capture.bytes)) !=
      0) {  // back to whole blocks
    log_warning("capture {}: {}", capture.path, strerror(errno));
  }
  capture.buffer.clear();
  end(job, reason);
}

void Watching::end(Job& job, std::string reason) {
  job.is_running = false;
  has_ended_ = true;
  if (!job.capture || !job.capture->file) return;
  Capture& capture = *job.capture;
  capture.ended = std::move(reason);
  flush(job);
  capture.file = Fd();
  log_info("capture {} ended: {}: {} packets, {} bytes", capture.path, capture.ended,
           capture.packets, capture.bytes);
}

std::uint64_t Watching::lost_of(std::uint32_t id, const Job& job) const {
  std::uint64_t lost = job.lost;
  for (const auto& watch : watches_) {
    for (std::size_t i = 0; i < watch->jobs().size(); ++i) {
      if (watch->jobs()[i].id == id) lost += watch->lost(i);
    }
  }
  return lost;
}

Watching::Job* Watching::find(const ControlRequest& request, bool wants_trace, std::string& error) {
  const char* what = wants_trace ? "trace" : "capture";
  const auto id = number(request, "id", 0, 1, UINT32_MAX);
  const auto found = id ? jobs_.find(static_cast<std::uint32_t>(*id)) : jobs_.end();
  if (found == jobs_.end() || (found->second.trace != nullptr) != wants_trace) {
    error = json_error(id ? fmt::format("there is no {} {}; show captures lists them", what, *id)
                          : id.error().message);
    return nullptr;
  }
  return &found->second;
}

std::string Watching::trace_add(const ControlRequest& request) {
  const auto count = number(request, "count", 1, 1, trace_count_max);
  if (!count) return json_error("trace: " + count.error().message);
  Job job;
  job.trace = std::make_unique<Trace>();
  job.trace->count_max = *count;
  job.trace->read_ms = now_ms();
  job.watch.count_max = *count;
  job.watch.wants_received = job.watch.wants_sent = false;
  const auto id = add(std::move(job), request);
  if (!id) return json_error("trace: " + id.error().message);
  JsonWriter json;
  json.open_object().field("ok", true).field("id", *id).close_object();
  return json.text();
}

std::string Watching::trace_read(const ControlRequest& request) {
  std::string error;
  Job* job = find(request, true, error);
  if (job == nullptr) return error;
  look();
  job = find(request, true, error);
  if (job == nullptr) return error;
  Trace& trace = *job->trace;
  trace.read_ms = now_ms();
  JsonWriter json;
  json.open_object().field("ok", true).key("walks").open_array();
  for (const WatchEntry& entry : trace.entries) add_walk(json, entry);
  trace.entries.clear();
  json.close_array()
      .field("is_done", !job->is_running)
      .field("lost", lost_of(job->watch.id, *job))
      .close_object();
  return json.text();
}

std::string Watching::trace_remove(const ControlRequest& request) {
  std::string error;
  Job* job = find(request, true, error);
  if (job == nullptr) return error;
  const bool was_running = job->is_running;
  jobs_.erase(job->watch.id);
  if (!was_running) return R"({"ok":true})";
  if (auto shown = show(); !shown) return json_error("trace: " + shown.error().message);
  return R"({"ok":true})";
}

std::string Watching::capture_start(const ControlRequest& request) {
  const auto refuse = [](const std::string& why) { return json_error("capture: " + why); };
  const auto count = number(request, "count", 1'000, 1, capture_count_max);
  if (!count) return refuse(count.error().message);
  const auto snap = number(request, "snap", snap_bytes_max, 14, snap_bytes_max);
  if (!snap) return refuse(snap.error().message);
  const auto seconds = number(request, "seconds", 3'600, 1, capture_seconds_max);
  if (!seconds) return refuse(seconds.error().message);
  const std::string at = request.argument("at", "both");
  if (at != "received" && at != "sent" && at != "both") {
    return refuse(fmt::format("at: '{}': received, sent or both is expected", at));
  }
  const std::string path = request.argument("file");
  if (!path.starts_with('/'))
    return refuse(fmt::format("file: '{}': an absolute path is expected", path));
  // Before the file: what is refused must leave nothing behind.
  if (auto filter = PacketFilter::parse(request.payload, engine_.tables()); !filter)
    return refuse(filter.error().message);
  Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) {
    return refuse(errno == EEXIST ? fmt::format("{} exists; choose another name", path)
                                  : fmt::format("{}: {}", path, strerror(errno)));
  }
  Job job;
  job.capture = std::make_unique<Capture>();
  Capture& capture = *job.capture;
  capture.path = path;
  capture.at = at;
  capture.file = std::move(file);
  capture.count_max = *count;
  capture.ends_ms = now_ms() + *seconds * 1'000;
  append_pcapng_section(capture.buffer, fmt::format("Sluice {}", SLUICE_VERSION));
  job.watch.count_max = *count;
  job.watch.snap_bytes = static_cast<std::uint16_t>(*snap);
  job.watch.wants_received = at != "sent";
  job.watch.wants_sent = at != "received";
  const auto id = add(std::move(job), request);
  if (!id) {
    unlink(path.c_str());
    return refuse(id.error().message);
  }
  flush(jobs_.at(*id));
  log_info("capture {} started into {}: {}", *id, path,
           request.payload.empty() ? "any" : request.payload);
  JsonWriter json;
  json.open_object().field("ok", true).field("id", *id).field("file", path).close_object();
  return json.text();
}

std::string Watching::capture_stop(const ControlRequest& request) {
  std::string error;
  Job* job = find(request, false, error);
  if (job == nullptr) return error;
  if (job->is_running) {
    drain(SIZE_MAX);
    if (job->is_running) end(*job, "stopped");
    if (auto shown = show(); !shown) return json_error("capture: " + shown.error().message);
  }
  JsonWriter json;
  json.open_object()
      .field("ok", true)
      .field("file", job->capture->path)
      .field("packets", job->capture->packets);
  json.field("bytes", job->capture->bytes).field("lost", job->lost).close_object();
  return json.text();
}

std::string Watching::captures() const {
  JsonWriter json;
  json.open_object().field("ok", true).key("captures").open_array();
  for (const auto& [id, job] : jobs_) {
    if (!job.capture) continue;
    const Capture& capture = *job.capture;
    json.open_object()
        .field("id", id)
        .field("file", capture.path)
        .field("filter", job.watch.filter.text());
    json.field("at", capture.at)
        .field("state", job.is_running ? "running" : "ended")
        .field("reason", capture.ended);
    json.field("packets", capture.packets).field("count", capture.count_max);
    json.field("bytes", capture.bytes + capture.buffer.size())
        .field("lost", lost_of(id, job))
        .close_object();
  }
  json.close_array().close_object();
  return json.text();
}

}  // namespace sluice

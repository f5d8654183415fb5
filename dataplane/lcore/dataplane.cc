#include "dataplane/lcore/dataplane.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/magic.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "dataplane/base/json_writer.h"
#include "dataplane/base/log.h"
#include "dataplane/io/eal.h"
#include "dataplane/lcore/clock.h"
#include "dataplane/lcore/control_verbs.h"

namespace sluice {
namespace {

constexpr char hugepage_mount[] = "/dev/hugepages";
constexpr std::uint64_t shutdown_deadline_s_max = 86'400;
constexpr std::uint64_t watching_wait_ms = 5;  // the rings of traces and captures are read this often
constexpr std::string_view waiting_text =
    "the dataplane waits for its first configuration; apply one with `sluice apply -f FILE`";
volatile sig_atomic_t is_signalled = 0;

void on_signal(int) { is_signalled = 1; }

std::string find_bpf_dir() {
  std::error_code ignored;
  const auto directory = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const auto& place : {directory, directory / "io"}) {
    if (std::filesystem::exists(place / "xdp_redirect.bpf.o", ignored)) return place.string();
  }
  return SLUICE_BPF_DIR;
}

// Said at once, and not only when the first configuration comes.
Result<void> check_host(const std::string& flow_file) {
  std::ifstream file("/proc/meminfo");
  std::stringstream text;
  text << file.rdbuf();
  if (auto checked = check_hugepages(parse_meminfo(text.str()), 1); !checked) return checked;
  if (flow_file.starts_with(hugepage_mount)) {
    struct statfs info {};
    if (statfs(hugepage_mount, &info) != 0 || info.f_type != HUGETLBFS_MAGIC) {
      return fail(fmt::format("hugepages: no hugetlbfs is mounted on {0}; mount it with `mkdir -p {0} && mount -t hugetlbfs "
                              "none {0}`, and reserve pages with `echo 512 > /proc/sys/vm/nr_hugepages`",
                              hugepage_mount));
    }
  }
  return {};
}

// Whether a process is on its way out: killed, but its memory and files are not yet given back. `is_over` when there is
// nothing left of it but its exit status.
struct Departure {
  bool is_dying = false;
  bool is_over = true;
};

Departure departure_of(const std::string& pid) {
  Departure departure;
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + pid + "/task", error)) {
    std::ifstream file(task.path() / "stat");
    std::string stat((std::istreambuf_iterator<char>(file)), {});
    // "pid (name) state ppid pgrp session tty tpgid flags ...": proc(5)
    std::istringstream fields(stat.substr(std::min(stat.rfind(')') + 1, stat.size())));
    char state = 'X';
    long ignored = 0;
    unsigned long flags = 0;
    fields >> state >> ignored >> ignored >> ignored >> ignored >> ignored >> flags;
    constexpr unsigned long exiting = 0x4;  // PF_EXITING
    if (state == 'Z' || state == 'X') continue;
    departure.is_over = false;
    if ((flags & exiting) != 0) departure.is_dying = true;
  }
  return departure;
}

void sleep_ms(long ms) {
  const timespec duration{0, ms * 1'000'000};
  nanosleep(&duration, nullptr);
}

// A predecessor that was killed a moment ago still holds the lock, its ports and its flow records while the kernel takes
// its memory down. It is waited for; one that lives is not.
Result<Fd> take_lock(const std::string& run_dir) {
  constexpr std::uint64_t patience_ms = 200, patience_with_the_dying_ms = 5'000;
  const std::string path = run_dir + "/dataplane.lock";
  Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return fail(fmt::format("{}: {}", path, strerror(errno)));
  std::array<char, 32> text{};
  const ssize_t bytes = read(fd.get(), text.data(), text.size() - 1);
  const std::string holder = bytes > 0 ? std::string(text.data(), static_cast<std::size_t>(bytes)) : std::string();
  const std::uint64_t began_ms = monotonic_ns() / 1'000'000;
  const auto waited_ms = [&] { return monotonic_ns() / 1'000'000 - began_ms; };
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    const bool is_dying = departure_of(holder).is_dying;
    if (waited_ms() > (is_dying ? patience_with_the_dying_ms : patience_ms)) {
      return fail(fmt::format("{}: sluice-dataplane with pid {} runs on this run directory; stop it or choose another "
                              "--run-dir",
                              run_dir, holder));
    }
    sleep_ms(5);
  }
  while (!holder.empty() && waited_ms() < patience_with_the_dying_ms) {
    const Departure departure = departure_of(holder);
    if (departure.is_over || !departure.is_dying) break;  // gone, or its number belongs to somebody else
    sleep_ms(5);
  }
  const std::string pid = std::to_string(getpid());
  if (ftruncate(fd.get(), 0) != 0 || pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) {
    return fail(fmt::format("{}: {}", path, strerror(errno)));
  }
  return fd;
}

Result<void> make_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return fail(fmt::format("{}: {}", path, error.message()));
  return {};
}

}  // namespace

Result<DataplaneOptions> DataplaneOptions::parse(int argc, char** argv) {
  DataplaneOptions options;
  const std::pair<std::string_view, std::string*> known[] = {{"--run-dir", &options.run_dir},
                                                             {"--state-dir", &options.state_dir},
                                                             {"--flow-file", &options.flow_file},
                                                             {"--bpf-dir", &options.bpf_dir}};
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const std::size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    const auto option =
        std::find_if(std::begin(known), std::end(known), [&](const auto& entry) { return entry.first == name; });
    if (option == std::end(known)) {
      return fail(fmt::format("unknown option {}; known are --run-dir, --state-dir, --flow-file, --bpf-dir", word));
    }
    if (equals != std::string_view::npos) {
      *option->second = word.substr(equals + 1);
    } else if (i + 1 < argc) {
      *option->second = argv[++i];
    } else {
      return fail(fmt::format("{} wants a value", word));
    }
  }
  while (options.run_dir.size() > 1 && options.run_dir.ends_with('/')) options.run_dir.pop_back();
  if (options.flow_file.empty()) {
    options.flow_file = fmt::format("{}/sluice-{}-flows", hugepage_mount,
                                    std::filesystem::path(options.run_dir).filename().string());
  }
  if (options.bpf_dir.empty()) options.bpf_dir = find_bpf_dir();
  return options;
}

Result<std::unique_ptr<Dataplane>> Dataplane::create(DataplaneOptions options) {
  std::unique_ptr<Dataplane> dataplane(new Dataplane(std::move(options)));
  const DataplaneOptions& settings = dataplane->options_;
  dataplane->started_ms_ = monotonic_ns() / 1'000'000;
  for (const std::string& path : {settings.run_dir, settings.state_dir}) {
    if (auto made = make_directory(path); !made) return tl::unexpected(made.error());
  }
  auto lock = take_lock(settings.run_dir);
  if (!lock) return tl::unexpected(lock.error());
  dataplane->lock_ = std::move(*lock);
  if (auto checked = check_host(settings.flow_file); !checked) return tl::unexpected(checked.error());
  auto server = ControlServer::listen(settings.run_dir + "/dataplane.sock", [self = dataplane.get()](ControlRequest& request) {
    return self->handle(request);
  });
  if (!server) return tl::unexpected(server.error());
  dataplane->server_.emplace(std::move(*server));
  return dataplane;
}

void Dataplane::run() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
  load_saved();
  while (!is_ending_ && is_signalled == 0) {
    server_->serve({watching_ && watching_->is_active() ? watching_wait_ms : 200});
    if (watching_) watching_->look();
    if (engine_ != nullptr) engine_->look_around();
    watch_limits();
    leave_when_idle();
  }
  server_->serve({0});  // the answer to `shutdown`
  watching_.reset();
  engine_.reset();
  log_info("ended");
}

void Dataplane::leave_when_idle() {
  if (!leaves_by_ms_) return;
  const std::uint64_t flows = engine_ == nullptr ? 0 : flows_in_use(*engine_);
  const bool is_idle = engine_ == nullptr || (flows == 0 && pending_clients(*engine_) == 0);
  if (!is_idle && monotonic_ns() / 1'000'000 < *leaves_by_ms_) return;
  log_info("the graceful shutdown ends: {} flows are left", flows);
  is_ending_ = true;
}

void Dataplane::load_saved() {
  const std::string path = options_.state_dir + "/snapshot";
  if (!std::filesystem::exists(path)) {
    log_info("no configuration yet: waiting for one to be published on {}/dataplane.sock", options_.run_dir);
    return;
  }
  const auto loaded = [&]() -> Result<void> {
    auto memory = SnapshotMemory::of_file(path);
    if (!memory) return tl::unexpected(memory.error());
    return put_in_force(std::move(*memory));
  }();
  if (!loaded) {
    refuse(loaded.error());
    log_error("{}: {}; waiting for a configuration to be published", path, loaded.error().message);
  }
}

Result<void> Dataplane::begin(std::unique_ptr<Published> first) {
  auto engine = Engine::start(std::move(first), {options_.flow_file, options_.bpf_dir});
  if (!engine) return tl::unexpected(engine.error());
  engine_ = std::move(*engine);
  watching_.emplace(*engine_);
  log_info("forwarding: generation {}, {} ports, {} workers, {} flows taken over, {} ms after start",
           engine_->tables().generation(), engine_->ports().count(), engine_->workers().size(), engine_->flows_adopted(),
           monotonic_ns() / 1'000'000 - started_ms_);
  return {};
}

Result<void> Dataplane::put_in_force(SnapshotMemory memory) {
  auto next = Published::verify(std::move(memory));
  if (!next) return tl::unexpected(next.error());
  if (engine_ == nullptr) return begin(std::move(*next));
  const Snapshot& running = engine_->tables();
  const Snapshot& tables = (*next)->tables;
  if (tables.generation() == running.generation()) {
    if (std::equal(tables.bytes().begin(), tables.bytes().end(), running.bytes().begin(), running.bytes().end())) return {};
    return fail(fmt::format("snapshot: generation {} is in force with other content; a change needs another number",
                            tables.generation()));
  }
  return engine_->publish(std::move(*next));
}

void Dataplane::watch_limits() {
  if (engine_ == nullptr) return;
  const auto read = [&](Verdict verdict) {
    std::uint64_t sum = 0;
    for (const auto& worker : engine_->workers()) sum += worker->world().counters.of(verdict).read();
    return sum;
  };
  for (const Alarms::Event& event : alarms_.observe(read, {monotonic_ns() / 1'000'000})) {
    const Verdict verdict = event.alarm.verdict;
    if (event.is_raised) {
      log_warning("alarm: {}: {}", counter_name_of(verdict), help_of(verdict));
    } else {
      log_info("alarm over: {}: {} packets in all", counter_name_of(verdict), event.alarm.packets);
    }
  }
}

std::string Dataplane::refuse(const Error& error) {
  ++refused_count_;
  refused_reason_ = error.message;
  return json_error(error.message);
}

std::string Dataplane::publish(ControlRequest& request) {
  auto memory = SnapshotMemory::of_sealed(request.attached);
  const auto done = memory ? put_in_force(std::move(*memory)) : tl::unexpected(memory.error());
  if (!done) {
    log_warning("publish refused: {}", done.error().message);
    return refuse(done.error());
  }
  // In force already: a full disk must not stop a health change.
  if (auto saved = save_snapshot(engine_->tables(), options_.state_dir + "/snapshot"); !saved) {
    log_warning("the configuration in force could not be saved for the next start: {}", saved.error().message);
  }
  JsonWriter json;
  json.open_object().field("ok", true).field("generation", engine_->tables().generation());
  json.key("restart_required").open_array();
  for (const std::string& reason : restart_reasons(engine_->started_with(), engine_->tables())) json.value(reason);
  json.close_array().close_object();
  return json.text();
}

std::string Dataplane::status() const {
  JsonWriter json;
  json.open_object().field("ok", true).field("process", "dataplane").field("version", SLUICE_VERSION);
  json.field("pid", getpid()).field("uptime_ms", monotonic_ns() / 1'000'000 - started_ms_);
  json.field("state", leaves_by_ms_ ? "leaving" : engine_ == nullptr ? "waiting for configuration" : "forwarding");
  if (leaves_by_ms_) {
    const std::uint64_t now_ms = monotonic_ns() / 1'000'000;
    json.key("leaving").open_object().field("flows", engine_ == nullptr ? 0 : flows_in_use(*engine_));
    json.field("ends_in_ms", *leaves_by_ms_ - std::min(*leaves_by_ms_, now_ms)).close_object();
  }
  json.field("generation", engine_ == nullptr ? 0 : engine_->tables().generation());
  json.key("restart_required").open_array();
  if (engine_ != nullptr) {
    for (const std::string& reason : restart_reasons(engine_->started_with(), engine_->tables())) json.value(reason);
  }
  json.close_array();
  json.field("workers", engine_ == nullptr ? 0 : engine_->workers().size());
  json.field("flows_in_use", engine_ == nullptr ? 0 : flows_in_use(*engine_));
  json.field("flows_capacity", engine_ == nullptr ? 0 : engine_->flows_capacity());
  json.field("flows_adopted", engine_ == nullptr ? 0 : engine_->flows_adopted());
  json.key("alarms").open_array();
  for (const Alarm& alarm : alarms_.active()) {
    json.open_object().field("name", counter_name_of(alarm.verdict)).field("help", help_of(alarm.verdict));
    json.field("packets", alarm.packets).field("since_ms", monotonic_ns() / 1'000'000 - alarm.since.ms).close_object();
  }
  json.close_array();
  json.key("snapshot_refused").open_object().field("count", refused_count_).field("last_reason", refused_reason_);
  json.close_object().close_object();
  return json.text();
}

// mode: none, at once; "graceful", with deadline_s; "cancel", of one that is on.
std::string Dataplane::shut_down(const ControlRequest& request) {
  const std::string mode = request.argument("mode");
  if (mode.empty()) {
    is_ending_ = true;
    return R"({"ok":true})";
  }
  const std::string text = request.argument("deadline_s", "0");
  std::uint64_t deadline_s = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), deadline_s);
  if (error != std::errc() || end != text.data() + text.size() || deadline_s > shutdown_deadline_s_max) {
    return json_error(fmt::format("deadline_s: a number of seconds from 0 to {}", shutdown_deadline_s_max));
  }
  if (mode == "cancel") {
    if (!leaves_by_ms_) return json_error("the dataplane is not draining: it takes new flows");
    leaves_by_ms_.reset();
    log_info("the graceful shutdown was called off");
  } else if (mode == "graceful") {
    leaves_by_ms_ = monotonic_ns() / 1'000'000 + deadline_s * 1000;
    log_info("a graceful shutdown: no new flows, {} s for those that are open", deadline_s);
  } else {
    return json_error(fmt::format("mode: '{}' is none of graceful, cancel", mode));
  }
  if (engine_ != nullptr) {
    for (const auto& worker : engine_->workers()) worker->show_leaving(leaves_by_ms_.has_value());
  }
  return status();
}

std::string Dataplane::handle(ControlRequest& request) {
  if (request.verb == "status") return status();
  if (request.verb == "publish") return publish(request);
  if (request.verb == "shutdown") return shut_down(request);
  using Reply = std::string (*)(const Engine&, const ControlRequest&);
  static constexpr std::pair<std::string_view, Reply> replies[] = {
      {"ports", [](const Engine& engine, const ControlRequest&) { return ports_reply(engine); }},
      {"drops", [](const Engine& engine, const ControlRequest&) { return drops_reply(engine); }},
      {"ledger", [](const Engine& engine, const ControlRequest&) { return ledger_reply(engine); }},
      {"vips", [](const Engine& engine, const ControlRequest&) { return vips_reply(engine); }},
      {"endpoints", [](const Engine& engine, const ControlRequest&) { return endpoints_reply(engine); }},
      {"flows", flows_reply},
      {"neighbors", [](const Engine& engine, const ControlRequest&) { return neighbors_reply(engine); }},
      {"splices", [](const Engine& engine, const ControlRequest&) { return splices_reply(engine); }}};
  for (const auto& [verb, reply] : replies) {
    if (verb != request.verb) continue;
    if (engine_ == nullptr) {
      return json_error(waiting_text);
    }
    return reply(*engine_, request);
  }
  using WatchReply = std::string (*)(Watching&, const ControlRequest&);
  static constexpr std::pair<std::string_view, WatchReply> watch_replies[] = {
      {"trace-add", [](Watching& watching, const ControlRequest& asked) { return watching.trace_add(asked); }},
      {"trace-read", [](Watching& watching, const ControlRequest& asked) { return watching.trace_read(asked); }},
      {"trace-remove", [](Watching& watching, const ControlRequest& asked) { return watching.trace_remove(asked); }},
      {"capture-start", [](Watching& watching, const ControlRequest& asked) { return watching.capture_start(asked); }},
      {"capture-stop", [](Watching& watching, const ControlRequest& asked) { return watching.capture_stop(asked); }},
      {"captures", [](Watching& watching, const ControlRequest&) { return watching.captures(); }}};
  for (const auto& [verb, reply] : watch_replies) {
    if (verb != request.verb) continue;
    return watching_ ? reply(*watching_, request) : json_error(waiting_text);
  }
  return json_error(fmt::format("unknown verb '{}'; known are status, publish, ports, drops, ledger, vips, endpoints, "
                                "flows, neighbors, splices, trace-add, trace-read, trace-remove, capture-start, "
                                "capture-stop, captures, shutdown",
                                request.verb));
}

}  // namespace sluice

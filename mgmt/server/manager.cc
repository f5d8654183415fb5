#include "mgmt/server/manager.h"

#include <fmt/core.h>
#include <time.h>

#include <algorithm>

#include "dataplane/base/crc32c.h"
#include "dataplane/base/log.h"
#include "mgmt/health/prober.h"
#include "mgmt/model/suggest.h"
#include "mgmt/schema/validate.h"
#include "mgmt/server/diff.h"
#include "mgmt/server/health_inbox.h"
#include "mgmt/server/host_addresses.h"
#include "mgmt/server/persistence.h"
#include "mgmt/server/probes.h"
#include "mgmt/text/profile_reader.h"
#include "mgmt/text/writer.h"

namespace sluice {
namespace {

constexpr const char* config_file = "config/objects.yaml";
constexpr const char* ids_file = "ids";
constexpr const char* drains_file = "drains";
constexpr const char* health_file = "health";
constexpr const char* committed_text = "committed configuration";

constexpr std::uint64_t flip_batch_ms = 20;  // the least time between two publications of verdicts
constexpr std::uint64_t patience_ms = 250;
constexpr Milliseconds acknowledge_timeout{3'000};
constexpr Milliseconds counters_timeout{1'000};
constexpr Milliseconds settle_timeout{200};

using SnapshotPtr = std::shared_ptr<const SnapshotBuffer>;

std::uint64_t unix_ms() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

std::uint32_t content_crc(const SnapshotBuffer& snapshot) {
  return crc32c(snapshot.bytes().subspan(sizeof(SnapshotHeader)));
}

// Adds to a problem where its object stands in the operator's text; of a clash, the first place that stands there.
ConfigError located(const Problem& problem,
                    const std::map<ObjectKey, const ObjectSource*>& sources) {
  ConfigError error{committed_text,    0, 0, problem.path, problem.message, problem.expected,
                    problem.suggestion};
  std::vector<Place> places = {{problem.object, problem.path}};
  places.insert(places.end(), problem.other_places.begin(), problem.other_places.end());
  for (const Place& place : places) {
    const auto found = sources.find(place.object);
    if (found == sources.end()) continue;
    const TextPosition position = found->second->find(place.path);
    error.file = found->second->file;
    error.line = position.line;
    error.column = position.column;
    error.path = place.path;
    return error;
  }
  error.path = problem.object.text() + ": " + problem.path;
  return error;
}

// Why `removed` cannot go.
ConfigError in_use(const ObjectKey& removed, const Problem& reference) {
  const std::string user = reference.object.text();
  return {"", 0, 0, "", fmt::format("{} is in use: {} refers to it ({})", removed.text(), user, reference.path),
          fmt::format("that {} is changed or deleted first", user), ""};
}

// What a commit would make of the state.
struct Candidate {
  ObjectStore objects;
  IdMap ids;
  Drains drains;
  HealthRecords health;
  SnapshotPtr snapshot;  // null: nothing to publish yet
  std::uint64_t generation = 0;
};

}  // namespace

struct Manager::State {
  ManagerOptions options;
  StateDir state_dir;
  NicProfiles profiles;
  ObjectStore objects;
  Drains drains;
  IdMap ids;
  HealthRecords health;
  ProbePlaces probed_places;
  std::uint64_t generation = 0;
  SnapshotPtr snapshot;  // of this generation; null: nothing to publish yet
  SlotCache slot_cache;
  std::string boot_id = current_boot_id();
  std::optional<Instant> publish_due;
  Instant flips_published;                              // the last time
  std::optional<std::uint64_t> next_change_unix_ms;  // the next one to come
  HealthInbox inbox;
  std::unique_ptr<Publisher> publisher;
  std::optional<Prober> prober;  // last: its thread uses the inbox and must end first

  explicit State(ManagerOptions given, StateDir folder)
      : options(std::move(given)), state_dir(std::move(folder)) {}

  std::string dataplane_socket() const { return options.run_dir + "/dataplane.sock"; }

  Result<void> load();
  void start();

  Result<SnapshotPtr> compile_with(const ObjectStore& candidate, const IdMap& candidate_ids,
                                   const Drains& candidate_drains,
                                   const HealthRecords& candidate_health,
                                   std::uint64_t candidate_generation);
  std::uint64_t next_generation() const {
    return std::max(generation,
                    publisher == nullptr ? 0 : publisher->status().acknowledged_generation) +
           1;
  }
  Findings validate_candidate(const ObjectStore& candidate) const;
  ChangeResult commit(ObjectStore wanted, ChangeResult result, bool is_dry_run);
  Result<Candidate> prepare(ObjectStore wanted, ChangeResult& result);
  Result<void> put_through(const Candidate& candidate, std::vector<std::string>& warnings);
  void take_over(Candidate candidate, std::vector<std::string>& warnings);
  Result<void> publish_and_wait(const SnapshotPtr& fresh, std::uint64_t fresh_generation,
                                std::vector<std::string>& warnings);
  void add_consequences(const SnapshotPtr& fresh, ChangeResult& result) const;
  void update_probes();  // after a change of objects or health
  void save_health();
  void publish_anew();
  void take_verdicts(Instant now);
};

Result<void> Manager::State::load() {
  ProfileFolder folder = read_profiles(options.profiles_dir);
  for (const ConfigError& error : folder.errors) log_error("{}", error.text());
  if (!folder.errors.empty())
    return fail(fmt::format("{}: NIC profiles have errors", options.profiles_dir));
  profiles = std::move(folder.profiles);

  const auto text = state_dir.read(config_file);
  if (!text) return tl::unexpected(text.error());
  if (*text && !(*text)->empty()) {
    const std::vector<SourceFile> files = {{state_dir.path_of(config_file), **text}};
    ParsedConfig parsed = read_config(files);
    std::map<ObjectKey, const ObjectSource*> sources;
    for (ParsedObject& object : parsed.objects) {
      objects.put(object.object);
      sources[object.object->key()] = &object.source;
    }
    if (parsed.errors.empty()) {
      for (const Problem& problem : validate(objects, {profiles, {}}).errors)
        parsed.errors.push_back(located(problem, sources));
    }
    for (const ConfigError& error : parsed.errors) log_error("{}", error.text());
    if (!parsed.errors.empty()) {
      return fail(
          fmt::format("{}: the committed configuration is not accepted by this version; correct it "
                      "or move it away",
                      state_dir.path_of(config_file)));
    }
  }

  // What can be found out again is not worth refusing to start for.
  const auto restore = [&](const char* name, auto decode, auto& into) {
    const auto stored = state_dir.read(name);
    if (!stored || !*stored) return;
    auto decoded = decode(**stored);
    if (decoded) {
      into = std::move(*decoded);
    } else {
      log_warning("{}: {}; starting without it", state_dir.path_of(name), decoded.error().message);
    }
  };
  restore(ids_file, decode_ids, ids);
  restore(drains_file, decode_drains, drains);
  HealthFile stored_health;
  restore(health_file, decode_health, stored_health);
  generation = stored_health.generation;
  if (stored_health.boot_id == boot_id) health = std::move(stored_health.records);
  std::erase_if(drains, [&](const auto& entry) { return objects.find(entry.first) == nullptr; });

  if (auto covered = ids.cover(objects); !covered) return covered;
  next_change_unix_ms = next_change(objects, drains, health, unix_ms());
  update_probes();
  std::erase_if(health, [&](const auto& entry) { return !probed_places.contains(entry.first); });
  if (node_of(objects) == nullptr) return {};
  auto fresh = compile_with(objects, ids, drains, health, generation);
  if (!fresh) return tl::unexpected(fresh.error());
  const bool is_known = generation > 0 && content_crc(**fresh) == stored_health.content_crc;
  if (!is_known) {
    fresh = compile_with(objects, ids, drains, health, ++generation);
    if (!fresh) return tl::unexpected(fresh.error());
  }
  snapshot = *fresh;
  publisher = std::make_unique<Publisher>(dataplane_socket());
  publisher->publish(snapshot, generation, is_known);
  save_health();
  return {};
}

void Manager::State::start() {
  if (publisher == nullptr) publisher = std::make_unique<Publisher>(dataplane_socket());
}

Result<SnapshotPtr> Manager::State::compile_with(const ObjectStore& candidate,
                                                 const IdMap& candidate_ids,
                                                 const Drains& candidate_drains,
                                                 const HealthRecords& candidate_health,
                                                 std::uint64_t candidate_generation) {
  auto built = compile({candidate, profiles, candidate_health, candidate_drains, candidate_ids,
                        candidate_generation, unix_ms()},
                       &slot_cache);
  if (!built) return tl::unexpected(built.error());
  return std::make_shared<const SnapshotBuffer>(std::move(*built));
}

Findings Manager::State::validate_candidate(const ObjectStore& candidate) const {
  ValidationWorld world{profiles, {}};
  if (options.checks_host_addresses) world.host_addresses = host_addresses();
  return validate(candidate, world);
}

void Manager::State::update_probes() {
  std::vector<ProbeSpec> probes = probes_of(objects, ids);
  probed_places = places_of(probes);
  if (prober) prober->set_targets(std::move(probes), health);
}

void Manager::State::save_health() {
  const HealthFile file{boot_id, generation, snapshot == nullptr ? 0 : content_crc(*snapshot),
                        health};
  if (auto saved = state_dir.write(health_file, encode_health(file), Durability::lazy); !saved) {
    log_warning("{}", saved.error().message);
  }
}

// The flows that a change would orphan are known to the dataplane only.
void Manager::State::add_consequences(const SnapshotPtr& fresh, ChangeResult& result) const {
  const auto after = Snapshot::verify(fresh->bytes());
  if (!after) return;
  std::optional<Snapshot> before;
  if (snapshot != nullptr) {
    if (auto verified = Snapshot::verify(snapshot->bytes())) before = *verified;
  }
  const Consequences found = compare(before ? &*before : nullptr, *after);
  result.consequences.insert(result.consequences.end(), found.sentences.begin(),
                             found.sentences.end());
  if (found.removed_endpoints.empty()) return;
  const auto counters = ask_counters(dataplane_socket(), counters_timeout);
  for (const RemovedEndpoint& removed : found.removed_endpoints) {
    std::string flows = "how many flows it has is not known: the dataplane does not answer";
    if (counters) {
      const auto found_counters = counters->endpoints.find(removed.id);
      flows = fmt::format("it has {} flows", found_counters == counters->endpoints.end()
                                                 ? 0
                                                 : found_counters->second.flows_active);
    }
    result.consequences.push_back(
        fmt::format("endpoint {} leaves cluster {}; {}", removed.name, removed.cluster, flows));
  }
}

// An error means: the dataplane runs and refuses. Not being there is a warning.
Result<void> Manager::State::publish_and_wait(const SnapshotPtr& fresh,
                                              std::uint64_t fresh_generation,
                                              std::vector<std::string>& warnings) {
  publisher->publish(fresh, fresh_generation);
  const PublishStatus status = publisher->wait_for(fresh_generation, acknowledge_timeout);
  if (status.refused_generation == fresh_generation) {
    return fail(fmt::format("the dataplane refused this configuration: {}", status.error));
  }
  if (status.acknowledged_generation >= fresh_generation) {
    for (const std::string& item : status.restart_required) {
      warnings.push_back(fmt::format("takes effect when the dataplane is restarted: {}", item));
    }
  } else if (!status.is_connected) {
    warnings.push_back(
        fmt::format("the dataplane is not running ({}): generation {} is committed and will be "
                    "published when it starts",
                    status.error, fresh_generation));
  } else {
    warnings.push_back(fmt::format(
        "the dataplane has not acknowledged generation {} within {} ms; it is tried again",
        fresh_generation, acknowledge_timeout.count));
  }
  return {};
}

// All that a commit would change, and its warnings and consequences in `result`. Touches nothing.
Result<Candidate> Manager::State::prepare(ObjectStore wanted, ChangeResult& result) {
  Candidate candidate{std::move(wanted), ids, drains, {}, nullptr, next_generation()};
  if (auto covered = candidate.ids.cover(candidate.objects); !covered) return tl::unexpected(covered.error());
  std::erase_if(candidate.drains,
                [&](const auto& entry) { return candidate.objects.find(entry.first) == nullptr; });
  candidate.health = health_after(objects, candidate.objects, health, probed_places,
                                  places_of(probes_of(candidate.objects, candidate.ids)), unix_ms());
  if (node_of(candidate.objects) != nullptr) {
    auto built = compile_with(candidate.objects, candidate.ids, candidate.drains, candidate.health, candidate.generation);
    if (!built) return tl::unexpected(built.error());
    candidate.snapshot = *built;
    add_consequences(candidate.snapshot, result);
  } else if (node_of(objects) != nullptr) {
    return fail("this would remove the node, without which nothing can be published: "
                "replace it in one step, or stop the dataplane");
  } else {
    result.warnings.push_back("there is no node object yet: nothing is forwarded");
  }
  return candidate;
}

// To the disk and to the dataplane, or to neither: what was done before an error is taken back.
Result<void> Manager::State::put_through(const Candidate& candidate, std::vector<std::string>& warnings) {
  // Ids first: should the machine stop here, ids that nobody uses do no harm.
  if (auto saved = state_dir.write(ids_file, encode_ids(candidate.ids), Durability::synced); !saved) return saved;
  if (candidate.snapshot != nullptr) {
    if (auto published = publish_and_wait(candidate.snapshot, candidate.generation, warnings); !published) {
      publisher->publish(snapshot, generation, true);
      return published;
    }
  }
  auto saved = state_dir.write(config_file, to_yaml(candidate.objects), Durability::synced);
  if (!saved && candidate.snapshot != nullptr && snapshot != nullptr) {
    generation = candidate.generation + 1;  // the dataplane goes on, not back
    if (auto old = compile_with(objects, ids, drains, health, generation)) {
      snapshot = *old;
      publisher->publish(snapshot, generation);
    }
  }
  return saved;
}

void Manager::State::take_over(Candidate candidate, std::vector<std::string>& warnings) {
  objects = std::move(candidate.objects);
  ids = std::move(candidate.ids);
  if (candidate.drains != drains) {
    drains = std::move(candidate.drains);
    if (auto saved = state_dir.write(drains_file, encode_drains(drains), Durability::synced); !saved) {
      warnings.push_back(saved.error().message);
    }
  }
  if (candidate.snapshot != nullptr) {
    snapshot = candidate.snapshot;
    generation = candidate.generation;
  }
  health = std::move(candidate.health);
  next_change_unix_ms = next_change(objects, drains, health, unix_ms());
  update_probes();
  save_health();
}

ChangeResult Manager::State::commit(ObjectStore wanted, ChangeResult result, bool is_dry_run) {
  const auto refuse = [&](std::string message) {
    result.errors.push_back({"", 0, 0, "", std::move(message), "", ""});
    return result;
  };
  result.generation = generation;
  const bool is_changed =
      std::any_of(result.changes.begin(), result.changes.end(),
                  [](const Change& change) { return change.action != "unchanged"; });
  if (!is_changed) {
    const PublishStatus status = publisher->status();
    if (!is_dry_run && snapshot != nullptr && !status.is_connected) {
      result.warnings.push_back(fmt::format("the dataplane is not running ({}): generation {} will be published when it starts",
                                            status.error, generation));
    }
    return result;
  }
  auto candidate = prepare(std::move(wanted), result);
  if (!candidate) return refuse(candidate.error().message);
  if (is_dry_run) return result;
  if (auto done = put_through(*candidate, result.warnings); !done) {
    return refuse(done.error().message + "; nothing was changed");
  }
  take_over(std::move(*candidate), result.warnings);
  result.generation = generation;
  log_info("committed {} objects, generation {}", objects.size(), generation);
  return result;
}

void Manager::State::take_verdicts(Instant now) {
  for (const auto& [target, record] : inbox.take()) {
    if (!probed_places.contains(target)) continue;  // it was removed meanwhile
    health[target] = record;
    if (record.verdict == HealthVerdict::down) {
      log_warning("{} is down ({}: {})", target.endpoint.text(), target.healthcheck.name,
                  record.reason);
    } else {
      log_info("{} is up ({})", target.endpoint.text(), target.healthcheck.name);
    }
    if (!publish_due) publish_due = std::max(now, flips_published + Milliseconds{flip_batch_ms});
  }
}

// After a change that is no commit: verdicts, a drain deadline, a dataplane that is ahead.
void Manager::State::publish_anew() {
  publish_due.reset();
  next_change_unix_ms = next_change(objects, drains, health, unix_ms());
  if (node_of(objects) == nullptr) return;
  const std::uint64_t fresh_generation = next_generation();
  auto fresh = compile_with(objects, ids, drains, health, fresh_generation);
  if (!fresh) {
    log_error("{}", fresh.error().message);
    return;
  }
  const bool is_ahead = publisher->status().acknowledged_generation > generation;
  if (!is_ahead && snapshot != nullptr && is_same_content(snapshot->bytes(), (*fresh)->bytes())) {
    save_health();
    return;
  }
  snapshot = *fresh;
  generation = fresh_generation;
  publisher->publish(snapshot, generation);
  save_health();
}

Manager::Manager(std::unique_ptr<State> state) : state_(std::move(state)) {}
Manager::~Manager() = default;

Result<std::unique_ptr<Manager>> Manager::create(ManagerOptions options) {
  auto state_dir = StateDir::open(options.state_dir);
  if (!state_dir) return tl::unexpected(state_dir.error());
  auto state = std::make_unique<State>(std::move(options), std::move(*state_dir));
  if (auto loaded = state->load(); !loaded) return tl::unexpected(loaded.error());
  state->start();
  State* raw = state.get();
  auto prober = Prober::create([raw](const HealthTarget& target, const HealthRecord& record) {
    raw->inbox.put(target, record);
  });
  if (!prober) return tl::unexpected(prober.error());
  state->prober.emplace(std::move(*prober));
  state->update_probes();
  return std::unique_ptr<Manager>(new Manager(std::move(state)));
}

ChangeResult Manager::apply(const std::vector<SourceFile>& files, bool is_replacing,
                            bool is_dry_run) {
  ChangeResult result;
  result.generation = state_->generation;
  ParsedConfig parsed = read_config(files);
  std::map<ObjectKey, const ObjectSource*> sources;
  for (const ParsedObject& object : parsed.objects) sources[object.object->key()] = &object.source;
  result.errors = std::move(parsed.errors);

  ObjectStore candidate = is_replacing ? ObjectStore() : state_->objects;
  Findings fields;
  for (const ParsedObject& parsed_object : parsed.objects) {
    const ObjectPtr& object = parsed_object.object;
    check_fields(*object, fields);
    const ObjectPtr before = state_->objects.find(object->key());
    Change change{"add", object->key(), {}};
    if (before != nullptr) change.action = is_same_text(*before, *object) ? "unchanged" : "change";
    if (change.action != "unchanged")
      change.lines = diff_lines(before ? to_yaml(*before) : "", to_yaml(*object));
    result.changes.push_back(std::move(change));
    candidate.put(object);
  }
  for (const Problem& problem : fields.errors) result.errors.push_back(located(problem, sources));
  if (result.errors.empty()) {
    const Findings findings = state_->validate_candidate(candidate);
    for (const Problem& problem : findings.errors)
      result.errors.push_back(located(problem, sources));
    result.warnings = findings.warnings;
  }
  if (!result.errors.empty()) {
    result.changes.clear();
    return result;
  }
  if (is_replacing) {
    for (const auto& [key, object] : state_->objects.all()) {
      if (candidate.find(key) == nullptr)
        result.changes.push_back({"remove", key, diff_lines(to_yaml(*object), "")});
    }
  }
  return state_->commit(std::move(candidate), std::move(result), is_dry_run);
}

ChangeResult Manager::remove(const ObjectKey& key) {
  ChangeResult result;
  result.generation = state_->generation;
  ObjectStore candidate = state_->objects;
  const ObjectPtr before = candidate.find(key);
  if (before == nullptr) {
    const auto names = candidate.names(key.kind, key.space);
    result.errors.push_back({"", 0, 0, "", fmt::format("there is no {}", key.text()),
                             names.empty() ? "" : "one of " + list_text(names),
                             closest(key.name, names)});
    return result;
  }
  candidate.erase(key);
  const Findings findings = state_->validate_candidate(candidate);
  for (const Problem& problem : findings.errors) {
    result.errors.push_back(problem.missing == key ? in_use(key, problem) : located(problem, {}));
  }
  if (!result.errors.empty()) return result;
  result.warnings = findings.warnings;
  result.changes.push_back({"remove", key, diff_lines(to_yaml(*before), "")});
  return state_->commit(std::move(candidate), std::move(result), false);
}

Result<DrainResult> Manager::set_draining(const ObjectKey& endpoint, bool is_draining) {
  if (state_->objects.find(endpoint) == nullptr) {
    const auto names = state_->objects.names("endpoint", endpoint.space);
    const std::string near = closest(endpoint.name, names);
    return fail(fmt::format("there is no {}{}", endpoint.text(),
                            near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
  }
  DrainResult result;
  Drains candidate = state_->drains;
  result.is_changed =
      is_draining ? candidate.emplace(endpoint, unix_ms()).second : candidate.erase(endpoint) > 0;
  if (result.is_changed) {
    if (node_of(state_->objects) != nullptr) {
      const std::uint64_t fresh_generation = state_->next_generation();
      auto fresh = state_->compile_with(state_->objects, state_->ids, candidate, state_->health,
                                        fresh_generation);
      if (!fresh) return tl::unexpected(fresh.error());
      if (auto published = state_->publish_and_wait(*fresh, fresh_generation, result.warnings);
          !published) {
        state_->publisher->publish(state_->snapshot, state_->generation, true);
        return tl::unexpected(published.error());
      }
      state_->snapshot = *fresh;
      state_->generation = fresh_generation;
    }
    state_->drains = std::move(candidate);
    if (auto saved =
            state_->state_dir.write(drains_file, encode_drains(state_->drains), Durability::synced);
        !saved) {
      result.warnings.push_back(saved.error().message + ": a restart of mgmt would forget this");
    }
    state_->next_change_unix_ms =
        next_change(state_->objects, state_->drains, state_->health, unix_ms());
    state_->save_health();
    log_info("{} is {}", endpoint.text(), is_draining ? "draining" : "no longer draining");
  }
  if (const auto counters = this->counters()) {
    result.flows_active = 0;
    for (const ObjectPtr& cluster : state_->objects.of_kind("cluster")) {
      for (const ResolvedEndpoint& member : endpoints_of(state_->objects, *cluster)) {
        if (member.object->key() != endpoint) continue;
        const auto id = state_->ids.endpoints.find(endpoint_id_key(*cluster, member));
        if (!id) continue;
        const auto found = counters->endpoints.find(*id);
        if (found != counters->endpoints.end()) *result.flows_active += found->second.flows_active;
      }
    }
  }
  return result;
}

int Manager::wakeup_fd() const {
  return state_->inbox.wakeup.get();
}

Milliseconds Manager::patience() const {
  return {state_->publish_due ? flip_batch_ms / 2 : patience_ms};
}

void Manager::tick(Instant now) {
  state_->take_verdicts(now);
  // A dataplane that is ahead has tables of which this mgmt knows nothing: go above it.
  const bool is_ahead = state_->snapshot != nullptr &&
                        state_->publisher->status().acknowledged_generation > state_->generation;
  const bool is_time_come =
      state_->next_change_unix_ms && *state_->next_change_unix_ms <= unix_ms();
  const bool is_due = state_->publish_due && *state_->publish_due <= now;
  if (is_due) state_->flips_published = now;
  if (is_ahead || is_time_come || is_due) state_->publish_anew();
}

void Manager::settle() {
  if (state_->publish_due) state_->publish_anew();
  const PublishStatus status = state_->publisher->status();
  if (!status.is_connected || status.refused_generation == state_->generation) return;
  if (status.acknowledged_generation < state_->generation)
    state_->publisher->wait_for(state_->generation, settle_timeout);
}

const ObjectStore& Manager::objects() const {
  return state_->objects;
}
const HealthRecords& Manager::health() const {
  return state_->health;
}
const Drains& Manager::drains() const {
  return state_->drains;
}
std::optional<Milliseconds> Manager::drain_left(const ObjectKey& endpoint) const {
  std::optional<std::uint64_t> last;
  if (!state_->drains.contains(endpoint)) return std::nullopt;
  for (const ObjectPtr& cluster : state_->objects.of_kind("cluster")) {
    for (const ResolvedEndpoint& member : endpoints_of(state_->objects, *cluster)) {
      if (member.object->key() != endpoint) continue;
      const auto deadline = drain_deadline(*cluster, endpoint, state_->drains);
      if (!deadline) return std::nullopt;  // in this cluster they stay
      last = std::max(last.value_or(0), *deadline);
    }
  }
  if (!last) return std::nullopt;
  const std::uint64_t now_ms = unix_ms();
  return Milliseconds{*last > now_ms ? *last - now_ms : 0};
}
const IdMap& Manager::ids() const {
  return state_->ids;
}
std::uint64_t Manager::generation() const {
  return state_->generation;
}
PublishStatus Manager::publish_status() const {
  return state_->publisher->status();
}
Result<DataplaneCounters> Manager::counters() const {
  return ask_counters(state_->dataplane_socket(), counters_timeout);
}

}  // namespace sluice

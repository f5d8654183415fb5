// Watching: the traces and captures that operators asked for. Each is a job with a filter; the
// lcores note what matches in rings (pipeline/watch.h), and look() makes text and pcapng files of
// it.
//
// Limits: Watch::jobs_max at a time; a trace ends after its count, or when nobody has read it for
// trace_idle; a
//         capture after its count, its time, file_bytes_max, or when the file does not take more.
//         Entries that a full ring lost are counted and said.
// Threads: the control thread. Errors: for the operator, as JSON replies; the packets never notice.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/base/control_channel.h"
#include "dataplane/lcore/engine.h"
#include "dataplane/pipeline/watch.h"

namespace sluice {

class Watching {
 public:
  static constexpr std::uint64_t trace_count_max = 1'000;
  static constexpr Milliseconds trace_idle{10'000};
  static constexpr std::uint64_t capture_count_max = 10'000'000;
  static constexpr std::uint64_t capture_seconds_max = 86'400;
  static constexpr std::uint64_t file_bytes_max = 1ull << 30;

  explicit Watching(Engine& engine) : engine_(engine) {}
  ~Watching();  // the lcores let go; files are whole
  Watching(const Watching&) = delete;
  Watching& operator=(const Watching&) = delete;

  // Payload: the filter. Arguments: count. Reply: id.
  std::string trace_add(const ControlRequest& request);
  // Arguments: id. Reply: the walks since the last call, and whether more will come.
  std::string trace_read(const ControlRequest& request);
  std::string trace_remove(const ControlRequest& request);
  // Payload: the filter. Arguments: file (absolute, must not exist), count, snap, seconds, at
  // (received, sent, both).
  std::string capture_start(const ControlRequest& request);
  std::string capture_stop(const ControlRequest& request);  // Arguments: id
  std::string captures() const;

  // To be called often while is_active(): reads the rings, ends what is over.
  void look();
  bool is_active() const { return !watches_.empty(); }

 private:
  struct Trace {
    std::uint64_t count_max = 0, count = 0;
    std::uint64_t read_ms = 0;       // when it was last asked for
    std::deque<WatchEntry> entries;  // not read yet
  };
  struct Capture {
    std::string path;
    std::string at;
    Fd file;
    std::string buffer;  // whole blocks, not written yet
    std::vector<std::string> interfaces;
    std::uint64_t count_max = 0, packets = 0, bytes = 0;
    std::uint64_t ends_ms = 0;
    std::string ended;  // why; empty while it runs
  };
  struct Job {
    WatchJob watch;
    std::uint64_t lost = 0;  // in watches that are gone
    std::unique_ptr<Trace> trace;
    std::unique_ptr<Capture> capture;
    bool is_running = true;
  };

  Result<std::uint32_t> add(Job job, const ControlRequest& request);
  Result<void> show();  // the running jobs to the lcores
  void drain(std::size_t count_max);
  void take(const WatchEntry& entry, std::span<const std::byte> received,
            std::span<const std::byte> sent);
  void write(Capture& capture, const WatchJob& job, const WatchEntry& entry, bool is_outbound,
             std::span<const std::byte> bytes);
  void flush(Job& job);
  void end(Job& job, std::string reason);
  std::uint64_t lost_of(std::uint32_t id, const Job& job) const;
  Job* find(const ControlRequest& request, bool wants_trace, std::string& error);

  Engine& engine_;
  std::uint32_t next_id_ = 1;
  std::map<std::uint32_t, Job> jobs_;
  std::vector<std::unique_ptr<Watch>> watches_;  // by worker; empty while there is no running job
  std::vector<std::unique_ptr<Watch>> stale_;    // an lcore that did not answer may hold them still
  bool has_ended_ = false;                       // a job ended: the lcores should know
};

}  // namespace sluice

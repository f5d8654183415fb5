// Names: completes what exists, by asking the processes and the file system.
// Threads: one. Errors: none; a process that does not answer simply has no names to offer.
#pragma once

#include "mgmt/shell/grammar.h"
#include "mgmt/shell/peers.h"

namespace sluice {

class Names : public NameSource {
 public:
  Names(const Peers& peers, std::span<const Command> commands)
      : peers_(peers), commands_(commands) {}
  std::vector<Candidate> names(ValueKind kind, std::string_view partial,
                               const Invocation& so_far) const override;

 private:
  std::vector<Candidate> listed(Process process, const char* verb, const char* list,
                                std::string_view hint, std::string_view name = "name") const;
  std::vector<Candidate> vips_and_virtual_hosts() const;
  std::vector<Candidate> fields_at(std::string_view partial) const;
  std::vector<Candidate> filter_words(const Invocation& so_far) const;
  std::vector<Candidate> objects_of(const std::string& kind) const;

  const Peers& peers_;
  std::span<const Command> commands_;
};

}  // namespace sluice

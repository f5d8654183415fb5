// The text of mgmt's own files in the state directory. Each ends in a checksum line: a file that
// was damaged is refused by name, never half read.
//
//   config/objects.yaml  the committed objects, as `sluice show config` prints them
//   ids                  the ids of VIPs, clusters and endpoints
//   drains               the endpoints that an operator drains, and since when
//   health               verdicts, and the generation last published
#pragma once

#include <string>

#include "dataplane/base/result.h"
#include "mgmt/compile/compile.h"
#include "mgmt/health/verdicts.h"

namespace sluice {

struct HealthFile {
  std::string boot_id;  // verdicts of another boot are worth nothing
  std::uint64_t generation = 0;
  std::uint32_t content_crc = 0;  // of the snapshot without its header
  HealthRecords records;
};

std::string encode_ids(const IdMap& ids);
Result<IdMap> decode_ids(const std::string& text);

std::string encode_drains(const Drains& drains);
Result<Drains> decode_drains(const std::string& text);

std::string encode_health(const HealthFile& file);
Result<HealthFile> decode_health(const std::string& text);

// Identifies this boot of the machine; empty when the kernel does not say.
std::string current_boot_id();

}  // namespace sluice

// The commands that change something: apply, diff (which only says what would change), delete,
// drain and undrain. mgmt decides; the shell reads the files, and shows changes, consequences and
// errors.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "dataplane/base/result.h"
#include "mgmt/shell/context.h"

namespace sluice {

int apply_files(Context& context, const Invocation& invocation);
int diff_files(Context& context, const Invocation& invocation);
int delete_object(Context& context, const Invocation& invocation);
int drain_endpoint(Context& context, const Invocation& invocation);
int undrain_endpoint(Context& context, const Invocation& invocation);

// The payload of apply and diff: each file after a line "# sluice-file: NAME". A directory stands
// for its *.yaml and *.yml files in the order of their names, "-" for stdin. Fails when a file
// cannot be read, a directory has none, or all together exceed `bytes_max` (so an endless file
// ends).
Result<std::string> read_configuration(std::span<const std::string> paths, std::size_t bytes_max);

}  // namespace sluice

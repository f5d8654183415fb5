// Bytes as a memfd that nobody can change any more: the reader may map it without copying.
#pragma once

#include <cstddef>
#include <span>

#include "dataplane/base/control_channel.h"
#include "dataplane/base/result.h"

namespace sluice {

Result<Fd> sealed_memfd(std::span<const std::byte> bytes);

}  // namespace sluice

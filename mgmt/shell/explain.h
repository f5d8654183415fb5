// explain: what may be written in a configuration, as mgmt's schema says it.
#pragma once

#include "mgmt/shell/context.h"

namespace sluice {

int explain_field(Context& context, const Invocation& invocation);

}  // namespace sluice

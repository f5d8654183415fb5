// Result<T>: the value, or one sentence for the operator that says where, what, and what to do.
// Used for everything that can fail because of the outside world; traffic uses verdicts and our own
// mistakes use LB_ASSERT.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace sluice {

struct Error {
  std::string message;
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> fail(std::string message) {
  return tl::unexpected<Error>(Error{std::move(message)});
}

}  // namespace sluice

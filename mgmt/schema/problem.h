// Problem: a rule that an object breaks. The caller turns it into a ConfigError by adding where the
// object stands in the text, if it does.
#pragma once

#include <string>
#include <vector>

#include "mgmt/model/objects.h"

namespace sluice {

struct Problem {
  ObjectKey object;
  std::string path;  // "spec.port"
  std::string message;
  std::string expected;
  std::string suggestion;
};

struct Findings {
  std::vector<Problem> errors;
  std::vector<std::string> warnings;  // accepted, but probably not what was meant

  void error(const ObjectKey& object, std::string path, std::string message,
             std::string expected = {}, std::string suggestion = {}) {
    errors.push_back(
        {object, std::move(path), std::move(message), std::move(expected), std::move(suggestion)});
  }
};

}  // namespace sluice

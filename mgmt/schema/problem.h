// Problem: a rule that an object breaks. The caller turns it into a ConfigError by adding where the
// object stands in the text, if it does.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mgmt/model/objects.h"

namespace sluice {

struct Place {
  ObjectKey object;
  std::string path;
};

struct Problem {
  ObjectKey object;
  std::string path;  // "spec.port"
  std::string message;
  std::string expected;
  std::string suggestion;
  std::vector<Place> other_places{};    // of a clash: where it may be mended as well
  std::optional<ObjectKey> missing{};   // of a reference: what it refers to and is not there
};

struct Findings {
  std::vector<Problem> errors;
  std::vector<std::string> warnings;  // accepted, but probably not what was meant

  Problem& error(const ObjectKey& object, std::string path, std::string message,
                 std::string expected = {}, std::string suggestion = {}) {
    errors.push_back(
        {object, std::move(path), std::move(message), std::move(expected), std::move(suggestion)});
    return errors.back();
  }
};

}  // namespace sluice

#include "perf/common/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdint>
#include <type_traits>

namespace sluice {

CommandLine::CommandLine(const std::string& what_the_program_does)
    : app_(std::make_unique<CLI::App>(what_the_program_does)) {}

CommandLine::~CommandLine() = default;

CommandLine::Option& CommandLine::Option::required() {
  option_->required();
  return *this;
}

CommandLine::Option& CommandLine::Option::one_of(const std::vector<std::string>& words) {
  option_->check(CLI::IsMember(words));
  return *this;
}

CommandLine::Option& CommandLine::Option::between(int smallest, int largest) {
  option_->check(CLI::Range(smallest, largest));
  return *this;
}

template <class Value>
CommandLine::Option CommandLine::add(const std::string& name, Value& value, const std::string& help) {
  if constexpr (std::is_same_v<Value, bool>) {
    return Option(app_->add_flag(name, value, help));
  } else {
    return Option(app_->add_option(name, value, help));
  }
}

template CommandLine::Option CommandLine::add(const std::string&, bool&, const std::string&);
template CommandLine::Option CommandLine::add(const std::string&, int&, const std::string&);
template CommandLine::Option CommandLine::add(const std::string&, double&, const std::string&);
template CommandLine::Option CommandLine::add(const std::string&, std::uint16_t&, const std::string&);
template CommandLine::Option CommandLine::add(const std::string&, std::uint32_t&, const std::string&);
template CommandLine::Option CommandLine::add(const std::string&, std::uint64_t&, const std::string&);
template CommandLine::Option CommandLine::add(const std::string&, std::string&, const std::string&);
template CommandLine::Option CommandLine::add(const std::string&, std::vector<std::string>&, const std::string&);

std::optional<int> CommandLine::parse(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app_->exit(error);
  }
  return std::nullopt;
}

}  // namespace sluice

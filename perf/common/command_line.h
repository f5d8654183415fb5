// CommandLine: CLI11 behind a small header, because each file that includes CLI11 takes ten seconds to compile.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace sluice {

class CommandLine {
 public:
  explicit CommandLine(const std::string& what_the_program_does);
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  class Option {
   public:
    explicit Option(CLI::Option* option) : option_(option) {}
    Option& required();
    Option& one_of(const std::vector<std::string>& words);
    Option& between(int smallest, int largest);

   private:
    CLI::Option* option_;
  };

  // "--name"; its value, converted, is put into `value`, which keeps its default when the option is not given.
  // For bool (a flag), std::string, double, the integers of the tools, and vectors of strings.
  template <class Value>
  Option add(const std::string& name, Value& value, const std::string& help = "");

  // The status to exit with when the program has nothing to do: --help, or an error, both printed.
  std::optional<int> parse(int argc, char** argv);

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace sluice

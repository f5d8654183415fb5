// LineEditor: the terminal side of the interactive shell, on libedit: editing, history, Tab and
// `?`. Threads: one, and only one LineEditor at a time owns the terminal and SIGINT. The parts
// given must outlive it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

class LineEditor {
 public:
  struct Insertion {
    std::string text;     // to insert at the cursor
    std::string listing;  // to show below the line, "" for nothing
  };
  struct Hooks {
    std::function<Insertion(std::string_view line_to_cursor)> complete;   // Tab
    std::function<std::string(std::string_view line_to_cursor)> explain;  // ?
  };

  // `history_file` "": keep none.
  LineEditor(Hooks hooks, std::string prompt, std::string history_file);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // The next line, or nullopt when the operator pressed Ctrl-D. Ctrl-C gives an empty line.
  std::optional<std::string> read_line();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice

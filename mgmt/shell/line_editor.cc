#include "mgmt/shell/line_editor.h"

#include <histedit.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

namespace sluice {
namespace {

constexpr int history_lines_max = 1000;

}  // namespace

struct LineEditor::State {
  Hooks hooks;
  std::string prompt;
  std::string history_file;
  EditLine* editor = nullptr;
  History* history = nullptr;
  bool was_cleared = false;  // by Ctrl-C

  ~State() {
    if (editor != nullptr) el_end(editor);
    if (history != nullptr) history_end(history);
  }

  static State& of(EditLine* editor) {
    void* state = nullptr;
    el_get(editor, EL_CLIENTDATA, &state);
    return *static_cast<State*>(state);
  }

  static std::string line_to_cursor(EditLine* editor) {
    const LineInfo* line = el_line(editor);
    return {line->buffer, line->cursor};
  }

  // Prints below the line being edited and draws that line again.
  static void print_below(EditLine* editor, const std::string& text) {
    std::fputs(("\n" + text).c_str(), stdout);
    std::fflush(stdout);
    el_set(editor, EL_REFRESH);
  }

  static unsigned char on_tab(EditLine* editor, int) {
    const Insertion insertion = of(editor).hooks.complete(line_to_cursor(editor));
    if (!insertion.listing.empty()) {
      print_below(editor, insertion.listing);
      return CC_NORM;
    }
    if (insertion.text.empty()) return CC_REFRESH_BEEP;
    return el_insertstr(editor, insertion.text.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
  }

  static unsigned char on_question(EditLine* editor, int) {
    print_below(editor, of(editor).hooks.explain(line_to_cursor(editor)));
    return CC_NORM;
  }

  static unsigned char on_clear(EditLine* editor, int) {
    of(editor).was_cleared = true;
    std::fputs("^C\n", stdout);
    std::fflush(stdout);
    return CC_EOF;  // ends this line; read_line() tells it from Ctrl-D
  }

  static unsigned char on_suspend(EditLine* editor, int) {
    kill(getpid(),
         SIGTSTP);  // returns when we are continued; libedit restores the terminal around it
    el_set(editor, EL_REFRESH);
    return CC_NORM;
  }

  static char* on_prompt(EditLine* editor) { return of(editor).prompt.data(); }

  void remember(const char* line) {
    HistEvent event;
    ::history(history, &event, H_ENTER, line);
    if (history_file.empty()) return;
    // After each line, so that a closed terminal loses nothing. It may hold names of a customer's
    // services: for the owner only.
    const mode_t old_mask = umask(0077);
    ::history(history, &event, H_SAVE, history_file.c_str());
    umask(old_mask);
  }
};

LineEditor::LineEditor(Hooks hooks, std::string prompt, std::string history_file)
    : state_(std::make_unique<State>()) {
  state_->hooks = std::move(hooks);
  state_->prompt = std::move(prompt);
  state_->history_file = std::move(history_file);

  state_->history = history_init();
  HistEvent event;
  history(state_->history, &event, H_SETSIZE, history_lines_max);
  history(state_->history, &event, H_SETUNIQUE, 1);
  if (!state_->history_file.empty()) {
    history(state_->history, &event, H_LOAD, state_->history_file.c_str());
  }

  EditLine* editor = el_init("sluice", stdin, stdout, stderr);
  state_->editor = editor;
  el_set(editor, EL_CLIENTDATA, state_.get());
  el_set(editor, EL_PROMPT, &State::on_prompt);
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_HIST, history, state_->history);
  el_set(editor, EL_SIGNAL,
         1);  // window size changes, and the terminal restored when we are killed
  // The wide form keeps these names where they are; the narrow one copies and never frees them.
  el_wset(editor, EL_ADDFN, L"sluice-complete", L"Complete the word", &State::on_tab);
  el_wset(editor, EL_ADDFN, L"sluice-explain", L"Say what may come next", &State::on_question);
  el_wset(editor, EL_ADDFN, L"sluice-clear", L"Drop the line", &State::on_clear);
  el_wset(editor, EL_ADDFN, L"sluice-suspend", L"Stop until the foreground is ours again",
          &State::on_suspend);
  el_source(editor, nullptr);  // the operator's ~/.editrc; our own keys come after it
  el_set(editor, EL_BIND, "^I", "sluice-complete", nullptr);
  el_set(editor, EL_BIND, "?", "sluice-explain", nullptr);
  el_set(editor, EL_BIND, "^C", "sluice-clear", nullptr);
  el_set(editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_set(editor, EL_BIND, "^Z", "sluice-suspend", nullptr);
  // While a line is edited Ctrl-C and Ctrl-Z are keys; while a command runs they are signals again.
  el_set(editor, EL_SETTY, "-d", "-isig", nullptr);
}

LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::read_line() {
  state_->was_cleared = false;
  int length = 0;
  // libedit shows the prompt before it takes the terminal: a Ctrl-C in between would be a signal.
  el_set(state_->editor, EL_PREP_TERM, 1);
  const char* text = el_gets(state_->editor, &length);
  if (state_->was_cleared) return std::string();
  if (text == nullptr || length <= 0) return std::nullopt;
  std::string line(text, static_cast<std::size_t>(length));
  while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
  if (line.find_first_not_of(" \t") != std::string::npos) state_->remember(line.c_str());
  return line;
}

}  // namespace sluice

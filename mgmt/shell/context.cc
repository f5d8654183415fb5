#include "mgmt/shell/context.h"

#include <fmt/core.h>

#include "dataplane/base/json_writer.h"
#include "mgmt/shell/exit_code.h"

namespace sluice {

int report(const Context& context, const AskError& error) {
  if (error.kind == AskError::Kind::refused) {
    if (context.wants_json) context.console.out(error.reply + "\n");
    context.console.err(fmt::format("sluice: {}\n", printable(error.message)));
    return exit_refused;
  }
  if (context.wants_json) {
    JsonWriter json;
    json.open_object().field("ok", false).field("error", error.message);
    json.field("process", name_of(error.process)).field("answers", false).close_object();
    context.console.out(json.text() + "\n");
  }
  context.console.err(fmt::format("sluice: {}\n", error.message));
  return exit_no_answer;
}

int report(const Context& context, int exit_code, std::string_view message,
           std::string_view suggestion) {
  std::string text(message);
  if (!suggestion.empty()) text += fmt::format("; did you mean '{}'?", suggestion);
  if (context.wants_json) {
    context.console.out(json_error(text) + "\n");
  }
  context.console.err(fmt::format("sluice: {}\n", printable(text)));
  return exit_code;
}

}  // namespace sluice

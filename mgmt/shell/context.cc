#include "mgmt/shell/context.h"

#include <fmt/format.h>

#include "mgmt/shell/exit_code.h"

namespace sluice {

int report(const Context& context, const AskError& error) {
  if (error.kind == AskError::Kind::refused) {
    if (context.wants_json) context.console.out(dump(error.reply) + "\n");
    context.console.err(fmt::format("sluice: {}\n", printable(error.message)));
    return exit_refused;
  }
  if (context.wants_json) {
    const Json reply = {{"ok", false},
                        {"error", error.message},
                        {"process", name_of(error.process)},
                        {"answers", false}};
    context.console.out(dump(reply) + "\n");
  }
  context.console.err(fmt::format("sluice: {}\n", error.message));
  return exit_no_answer;
}

int report(const Context& context, int exit_code, std::string_view message,
           std::string_view suggestion) {
  std::string text(message);
  if (!suggestion.empty()) text += fmt::format("; did you mean '{}'?", suggestion);
  if (context.wants_json) {
    context.console.out(dump(Json{{"ok", false}, {"error", text}}) + "\n");
  }
  context.console.err(fmt::format("sluice: {}\n", printable(text)));
  return exit_code;
}

}  // namespace sluice

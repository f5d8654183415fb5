#include "mgmt/shell/explain.h"

#include <fmt/format.h>

#include "mgmt/shell/exit_code.h"
#include "mgmt/shell/json.h"

namespace sluice {
namespace {

std::string usual_cell(const Json& field) {
  const std::string usual = text_of(field, "default");
  if (!usual.empty()) return usual;
  if (!flag_of(field, "required")) return {};
  return list_of(field, "instead_of").empty() ? "(required)" : "(one is required)";
}

// The sentence, and what may stand there instead.
std::string meaning_cell(const Json& field) {
  std::string meaning = text_of(field, "help");
  const auto others = texts_of(field, "instead_of");
  if (!others.empty()) meaning += fmt::format("{}Not with {}.", meaning.empty() ? "" : " ", fmt::join(others, ", "));
  return meaning;
}

std::string fields_table(const Json& fields, const TextStyle& style) {
  Table table({{"FIELD"}, {"TYPE", Align::left, 1}, {"LIMITS", Align::left, 2, true}, {"DEFAULT", Align::left, 0, true},
               {"MEANING", Align::left, 0, true, true}});
  for (const Json& field : fields) {
    table.add({text_of(field, "name"), text_of(field, "type"), text_of(field, "limits"), usual_cell(field), meaning_cell(field)});
  }
  return table.text(style);
}

std::string values_table(const Json& values, const TextStyle& style) {
  Table table({{"VALUE"}, {"MEANING", Align::left, 0, true, true}});
  for (const Json& value : values) table.add({text_of(value, "name"), text_of(value, "help")});
  return table.text(style);
}

std::string paragraph(std::string_view text, const TextStyle& style) {
  constexpr std::size_t width_usual = 100;
  std::string lines;
  for (const std::string& line : wrapped(text, style.width > 0 ? style.width : width_usual)) lines += printable(line) + "\n";
  return lines;
}

// "cluster.spec.drain_timeout: time, as 30s; 1s to 7d".
std::string heading(const Json& reply) {
  std::string text = fmt::format("{}: {}", text_of(reply, "path"), text_of(reply, "type"));
  if (const std::string limits = text_of(reply, "limits"); !limits.empty()) text += "; " + limits;
  if (const std::string usual = text_of(reply, "default"); !usual.empty()) text += "; default " + usual;
  if (flag_of(reply, "required")) text += list_of(reply, "instead_of").empty() ? "; required" : "; it or another is required";
  return text;
}

}  // namespace

int explain_field(Context& context, const Invocation& invocation) {
  ControlRequest request;
  request.verb = "explain";
  if (const std::string path = invocation.argument(0); !path.empty()) request.arguments["path"] = path;
  const auto reply = context.peers.ask(Process::mgmt, request);
  if (!reply) return report(context, reply.error());
  if (context.wants_json) {
    context.console.out(dump(*reply) + "\n");
    return exit_ok;
  }
  const TextStyle& style = context.console.style();
  std::string text;
  if (!text_of(*reply, "path").empty()) {
    text += paragraph(heading(*reply), style);
    if (const std::string meaning = meaning_cell(*reply); !meaning.empty()) text += paragraph(meaning, style);
  }
  const Json& fields = list_of(*reply, "fields");
  const Json& values = list_of(*reply, "values");
  if (!text.empty() && !(fields.empty() && values.empty())) text += "\n";
  if (!fields.empty()) text += fields_table(fields, style);
  if (!values.empty()) text += values_table(values, style);
  if (const auto later = texts_of(*reply, "not_in_this_version"); !later.empty()) {
    text += "\n" + paragraph(fmt::format("Not in this version: {}.", fmt::join(later, ", ")), style);
  }
  context.console.out(text);
  return exit_ok;
}

}  // namespace sluice

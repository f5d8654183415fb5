// What Tab inserts and what `?` prints, for a line up to the cursor.
// Pure but for the names, which NameSource may fetch from the processes.
#pragma once

#include <string>
#include <string_view>

#include "mgmt/shell/grammar.h"
#include "mgmt/shell/line_editor.h"
#include "mgmt/shell/table.h"

namespace sluice {

// Tab: the rest of the only candidate and a space, or as much as all candidates agree on; when that
// is nothing, their list.
LineEditor::Insertion complete_line(const Grammar& grammar, const NameSource& names,
                                    std::string_view line_to_cursor, const TextStyle& style);

// `?`: everything that may come next, each with its help.
std::string explain_line(const Grammar& grammar, const NameSource& names,
                         std::string_view line_to_cursor, const TextStyle& style);

}  // namespace sluice

// Operator's text -> objects. Every error of a file at once (up to config_errors_max), each with
// file, line, column, path, what was expected and, for a misspelt name, what was probably meant.
//
// Pure: no files are opened here. Only the shape is checked; see mgmt/schema for the rest.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mgmt/model/config_error.h"
#include "mgmt/model/objects.h"

namespace sluice {

struct SourceFile {
  std::string name;
  std::string text;
  int first_line = 1;  // of the text, in the file the operator knows
};

struct TextPosition {
  int line = 0;
  int column = 0;
};

// Where an object and its fields stand in the text.
struct ObjectSource {
  std::string file;
  std::map<std::string, TextPosition> positions;  // by path; "" is the document

  // The position of the path, or of the nearest part of it that was written.
  TextPosition find(std::string path) const;
};

struct ParsedObject {
  ObjectPtr object;
  ObjectSource source;
};

struct ParsedConfig {
  std::vector<ParsedObject> objects;
  std::vector<ConfigError> errors;
};

ParsedConfig read_config(std::span<const SourceFile> files);

// A payload of several files: each begins with a line "# sluice-file: NAME". Without such a line
// the whole payload is one file called `fallback_name`.
std::vector<SourceFile> split_payload(std::string_view payload,
                                      const std::string& fallback_name = "input");

// The same for one message of a known kind, for texts that are not the operator's objects.
std::unique_ptr<google::protobuf::Message> read_message(const SourceFile& file,
                                                        const google::protobuf::Message& prototype,
                                                        std::vector<ConfigError>& errors,
                                                        ObjectSource* source);

}  // namespace sluice

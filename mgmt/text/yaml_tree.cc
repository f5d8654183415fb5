#include "mgmt/text/yaml_tree.h"

#include <fmt/core.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <istream>
#include <streambuf>

#include "dataplane/base/assert.h"

namespace sluice {
namespace {

struct Refusal {  // thrown through yaml-cpp, caught in parse_yaml
  YAML::Mark mark;
  std::string message;
  std::string expected;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  std::vector<YamlNode> documents;

  void OnDocumentStart(const YAML::Mark& mark) override {
    // A stray ',' or ']' between documents is never consumed: empty documents for ever.
    if (!documents.empty() && mark.pos == document_pos_) {
      throw Refusal{mark, "not valid YAML: a stray character between documents",
                    "an object, or '---'"};
    }
    document_pos_ = mark.pos;
    open_.clear();
    root_ = YamlNode();
  }
  void OnDocumentEnd() override { documents.push_back(std::move(root_)); }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    place(mark, YamlNode::Type::null);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refusal{mark, "an alias is not accepted here", "the value itself"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    const bool is_plain = tag == "?" || tag.empty();
    const bool is_null = is_plain && (value.empty() || value == "~" || value == "null");
    YamlNode& node = place(mark, is_null ? YamlNode::Type::null : YamlNode::Type::scalar);
    node.scalar = value;
    key_done();
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Type::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Type::map);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Level {
    YamlNode node;
    YamlNode key;
    bool has_key = false;
  };

  static void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor)
      throw Refusal{mark, "an anchor is not accepted here", "the value without '&'"};
  }
  static void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw Refusal{mark, fmt::format("the tag {} is not accepted here", tag),
                    "the value without a tag"};
    }
  }

  // Yaml-cpp reports a null without OnScalar in some places and with it in others; both end here.
  YamlNode& place(const YAML::Mark& mark, YamlNode::Type type) {
    YamlNode node;
    node.type = type;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    pending_ = std::move(node);
    if (type == YamlNode::Type::null) key_done();
    return pending_;
  }

  // Files the pending node under what is open.
  void key_done() {
    if (pending_.line == 0) return;
    YamlNode node = std::exchange(pending_, YamlNode());
    file(std::move(node));
  }

  void file(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Level& level = open_.back();
    if (level.node.type == YamlNode::Type::list) {
      level.node.items.push_back(std::move(node));
    } else if (!level.has_key) {
      level.key = std::move(node);
      level.has_key = true;
    } else {
      if (node.type == YamlNode::Type::null) {  // yaml-cpp places it where the next thing begins
        node.line = level.key.line;
        node.column = level.key.column;
      }
      level.node.entries.emplace_back(std::move(level.key), std::move(node));
      level.has_key = false;
    }
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Type type) {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    if (open_.size() >= static_cast<std::size_t>(yaml_depth_max)) {
      throw Refusal{mark, fmt::format("nested deeper than {} levels", yaml_depth_max), {}};
    }
    Level& level = open_.emplace_back();
    level.node.type = type;
    level.node.line = mark.line + 1;
    level.node.column = mark.column + 1;
  }

  void close() {
    LB_ASSERT(!open_.empty());
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    file(std::move(node));
  }

  std::vector<Level> open_;
  YamlNode root_;
  YamlNode pending_;
  int document_pos_ = 0;
};

class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* first = const_cast<char*>(text.data());  // streambuf's interface; only read
    setg(first, first, first + text.size());
  }
};

// Length of the UTF-8 sequence at `at`; 0 when it is none (RFC 3629: no surrogates, no overlong
// forms).
std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const auto is_tail = [&](std::size_t i) {
    return at + i < text.size() && (byte(i) & 0xc0) == 0x80;
  };
  if (byte(0) < 0x80) return 1;
  if (byte(0) >= 0xc2 && byte(0) <= 0xdf) return is_tail(1) ? 2 : 0;
  if (byte(0) >= 0xe0 && byte(0) <= 0xef) {
    if (!is_tail(1) || !is_tail(2)) return 0;
    if ((byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xed && byte(1) > 0x9f)) return 0;
    return 3;
  }
  if (byte(0) >= 0xf0 && byte(0) <= 0xf4) {
    if (!is_tail(1) || !is_tail(2) || !is_tail(3)) return 0;
    if ((byte(0) == 0xf0 && byte(1) < 0x90) || (byte(0) == 0xf4 && byte(1) > 0x8f)) return 0;
    return 4;
  }
  return 0;
}

// What yaml-cpp would swallow or report in words that do not help.
std::optional<ConfigError> check_bytes(const std::string& file, std::string_view text) {
  const auto error = [&](int line, int column, std::string message, std::string expected) {
    return ConfigError{file, line, column, {}, std::move(message), std::move(expected), {}};
  };
  if (text.size() > yaml_bytes_max) {
    return error(0, 0,
                 fmt::format("{} bytes are above the limit of {}", text.size(), yaml_bytes_max),
                 "smaller files, applied together");
  }
  int line = 1;
  int column = 1;
  bool is_indentation = true;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    const auto byte = static_cast<unsigned char>(text[i]);
    if (length == 0)
      return error(line, column, fmt::format("byte 0x{:02x} is not UTF-8", byte), "text in UTF-8");
    if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7f) {
      return error(line, column, fmt::format("control character 0x{:02x}", byte), "text in UTF-8");
    }
    if (byte == '\t' && is_indentation)
      return error(line, column, "a tab in the indentation", "spaces");
    if (byte != ' ') is_indentation = false;
    if (byte == '\n') {
      ++line;
      column = 0;
      is_indentation = true;
    }
    ++column;
    i += length;
  }
  return std::nullopt;
}

}  // namespace

YamlDocuments parse_yaml(const std::string& file, std::string_view text) {
  YamlDocuments result;
  result.error = check_bytes(file, text);
  if (result.error) return result;
  ViewBuffer buffer(text);
  std::istream stream(&buffer);
  TreeBuilder builder;
  const auto refuse = [&](const YAML::Mark& mark, std::string message, std::string expected) {
    const bool is_known = !mark.is_null();
    result.error = ConfigError{file, is_known ? mark.line + 1 : 0, is_known ? mark.column + 1 : 0,
                               {},   std::move(message),           std::move(expected),
                               {}};
  };
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refusal& refusal) {
    refuse(refusal.mark, refusal.message, refusal.expected);
  } catch (const YAML::Exception& problem) {
    refuse(problem.mark, fmt::format("not valid YAML: {}", problem.msg), {});
  }
  result.documents = std::move(builder.documents);
  return result;
}

}  // namespace sluice

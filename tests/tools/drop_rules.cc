#include "tests/tools/drop_rules.h"

#include <sstream>

namespace sluice::tools {
namespace {

unsigned number_in(const std::string& word) {
  const std::string digits = word.substr(word.find('=') + 1);
  if (digits.empty() || digits.size() > 6 || digits.find_first_not_of("0123456789") != std::string::npos || std::stoul(digits) == 0) {
    die("'" + word + "': a number from 1 on stands behind the =");
  }
  return static_cast<unsigned>(std::stoul(digits));
}

bool is_at_or_after(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) >= 0; }

}  // namespace

void DropRules::add(const std::string& text) {
  Rule rule;
  bool has_what = false;
  const auto meant = [&](What what) {
    rule.what = what;
    has_what = true;
  };
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (word == "syn") {
      meant(What::syn);
    } else if (word == "syn-ack") {
      meant(What::syn_ack);
    } else if (word == "ack") {
      meant(What::ack);
    } else if (word == "fin") {
      meant(What::fin);
    } else if (word.rfind("segment=", 0) == 0) {
      meant(What::segment);
      rule.number = number_in(word);
    } else if (word.rfind("times=", 0) == 0) {
      rule.times = number_in(word);
    } else if (word == "from=left" || word == "from=right") {
      rule.hears[static_cast<std::size_t>(word == "from=left" ? Side::right : Side::left)] = false;
    } else {
      die("'" + word + "': a rule is one of syn, syn-ack, ack, fin, segment=K, and times=N, from=left or from=right");
    }
  }
  if (!has_what) die("'" + text + "' does not say what is to be dropped");
  rules_.push_back(std::move(rule));
}

bool DropRules::wants(const HeardSegment& heard, Side from) {
  bool is_wanted = false;
  for (Rule& rule : rules_) {
    if (!rule.hears[static_cast<std::size_t>(from)]) continue;
    Connection& connection = rule.connections[heard.tuple];
    if (!is_meant(rule, heard.segment, connection) || connection.dropped == rule.times) continue;
    ++connection.dropped;
    is_wanted = true;
  }
  return is_wanted;
}

bool DropRules::is_meant(const Rule& rule, const Segment& segment, Connection& connection) {
  const std::uint8_t kind = segment.flags & (flag::syn | flag::ack | flag::fin | flag::rst);
  switch (rule.what) {
    case What::syn: return kind == flag::syn;
    case What::syn_ack: return kind == (flag::syn | flag::ack);
    case What::ack: return kind == flag::ack && segment.payload.empty();
    case What::fin: return (kind & flag::fin) != 0;
    case What::segment: break;
  }
  if ((kind & flag::syn) != 0) connection = {.end = segment.sequence + 1, .is_begun = true};
  if (segment.payload.empty()) return false;
  const std::uint32_t first = segment.sequence, end = first + static_cast<std::uint32_t>(segment.payload.size());
  if (!connection.is_begun || !is_at_or_after(connection.end, end)) {
    connection.is_begun = true;
    connection.end = end;
    if (++connection.segments == rule.number) connection.target = first;
  }
  return connection.segments >= rule.number && is_at_or_after(connection.target, first) && !is_at_or_after(connection.target, end);
}

}  // namespace sluice::tools

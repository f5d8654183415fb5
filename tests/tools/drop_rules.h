// DropRules: packets that are to be lost on purpose, named by what they are in their TCP connection.
//
//   syn | syn-ack | ack | fin     "ack" is a segment with nothing but an acknowledgment
//   segment=K                     the K-th segment of a direction that carries bytes not sent before, counted from 1;
//                                 also when its first byte comes again, alone or among others
//   times=N                       so often in each connection and direction (default 1)
//   from=left|right               only what comes from there
//
// One rule is a line of such words: "segment=2 times=3 from=left".
// Threads: one. Memory: a few words for each connection and rule, until the end. Errors: die() on words of no meaning.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "tests/tools/frames.h"

namespace sluice::tools {

enum class Side : std::uint8_t { left, right };

class DropRules {
 public:
  void add(const std::string& text);
  bool empty() const { return rules_.empty(); }
  bool wants(const HeardSegment& heard, Side from);  // each segment is shown once, as it comes

 private:
  enum class What : std::uint8_t { syn, syn_ack, ack, fin, segment };

  struct Connection {
    unsigned dropped = 0;
    unsigned segments = 0;           // with new bytes
    std::uint32_t end = 0;           // behind the last byte seen
    std::uint32_t target = 0;        // first byte of the segment that is meant
    bool is_begun = false;
  };
  struct Rule {
    What what = What::syn;
    unsigned number = 0, times = 1;
    bool hears[2] = {true, true};    // by Side
    std::unordered_map<Tuple, Connection, TupleHash> connections;
  };

  static bool is_meant(const Rule& rule, const Segment& segment, Connection& connection);

  std::vector<Rule> rules_;
};

}  // namespace sluice::tools

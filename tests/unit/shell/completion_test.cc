#include "mgmt/shell/completion.h"

#include <gtest/gtest.h>

#include "mgmt/shell/commands.h"
#include "mgmt/shell/names.h"
#include "tests/unit/shell/fake_process.h"

namespace sluice::completion_test {
namespace {

// Knows two endpoints, two kinds of objects and one file with a space in its name.
class FakeNames : public NameSource {
 public:
  std::vector<Candidate> names(ValueKind kind, std::string_view,
                               const Invocation& so_far) const override {
    if (kind == ValueKind::endpoint) return {{"web-1", "up"}, {"web-2", "down"}};
    if (kind == ValueKind::object_kind) return {{"cluster", ""}, {"endpoint", ""}};
    if (kind == ValueKind::object_name && so_far.arguments == std::vector<std::string>{"cluster"}) {
      return {{"größe", ""}, {"grün", ""}};
    }
    if (kind == ValueKind::field_path) return {{"cluster.spec.", "an object"}, {"cluster.metadata.", "an object"}};
    if (kind == ValueKind::file) return {{"my file.yaml", ""}, {"sub/", "directory"}};
    return {};
  }
};

class Completion : public ::testing::Test {
 protected:
  std::string inserted(std::string_view line) const {
    return complete_line(grammar_, names_, line, {}).text;
  }
  std::string listed(std::string_view line) const {
    return complete_line(grammar_, names_, line, {}).listing;
  }
  std::string explained(std::string_view line, std::size_t width = 0) const {
    return explain_line(grammar_, names_, line, {false, width});
  }

  Grammar grammar_{all_commands(), interactive_options(), true};
  FakeNames names_;
};

TEST_F(Completion, GoesOnBehindAFieldThatHasFields) {
  EXPECT_EQ(inserted("explain cluster.s"), "pec.");
  EXPECT_EQ(inserted("explain clus"), "ter.");
}

TEST_F(Completion, FinishesTheOnlyCandidate) {
  EXPECT_EQ(inserted("sh"), "ow ");
  EXPECT_EQ(inserted("show end"), "points ");
  EXPECT_EQ(inserted("show flows --cl"), "ient ");
  EXPECT_EQ(inserted("drain e"), "ndpoint ");
  EXPECT_EQ(inserted("sh f"), "lows ") << "after an abbreviation";
}

TEST_F(Completion, GoesAsFarAsAllAgreeThenLists) {
  EXPECT_EQ(inserted("drain endpoint "), "web-");
  EXPECT_EQ(inserted("drain endpoint web-"), "");
  EXPECT_EQ(listed("drain endpoint web-"), "  web-1  up\n  web-2  down\n");
  EXPECT_EQ(listed("d"),
            "  diff    show what apply would change, and what that does to traffic\n"
            "  delete  remove a configuration object\n"
            "  drain   endpoint, dataplane\n");
}

TEST_F(Completion, NeverStopsInsideACharacter) {
  EXPECT_EQ(inserted("delete cluster "), "gr") << "ö and ü share their first byte";
}

TEST_F(Completion, QuotesWhatNeedsIt) {
  EXPECT_EQ(inserted("apply -f my"), "\\ file.yaml ");
  EXPECT_EQ(inserted("apply -f s"), "ub/") << "a directory goes on";
}

TEST_F(Completion, OffersOptionsWhenNothingElseIsLeft) {
  EXPECT_EQ(inserted("show drops "), "--");
  EXPECT_EQ(listed("show drops --"),
            "  --all    also the reasons that never occurred\n"
            "  --watch  SECONDS: repeat every SECONDS until Ctrl-C\n"
            "  --json   answer as JSON with all digits\n"
            "  --help   explain the command\n");
  EXPECT_EQ(inserted("show drops --all "), "--watch ");
}

TEST_F(Completion, HasNothingForNonsense) {
  EXPECT_EQ(inserted("frobnicate "), "");
  EXPECT_EQ(listed("frobnicate "), "  'frobnicate' is not a command\n");
  EXPECT_EQ(listed("show x"), "");
  EXPECT_EQ(inserted("# show fl"), "");
}

TEST_F(Completion, ExplainsEverythingThatMayCome) {
  EXPECT_EQ(explained("show flows --limit "), "  N  at most N flows (50 when not given)\n");
  EXPECT_EQ(explained("drain "),
            "  endpoint   let an endpoint keep its flows and get no new ones\n"
            "  dataplane  let the dataplane keep its flows, get no new ones, and end after the last\n");
  EXPECT_EQ(explained("drain endpoint "),
            "  NAME         name of the endpoint\n"
            "  web-1        up\n"
            "  web-2        down\n"
            "  --namespace  NAMESPACE: the object's namespace, if it is not the default one\n"
            "  --json       answer as JSON with all digits\n"
            "  --help       explain the command\n");
  EXPECT_EQ(explained("show drops --all --watch 1 --json "),
            "  --help   explain the command\n"
            "  <Enter>  dropped packets by reason\n");
  EXPECT_EQ(explained("show zz"), "  nothing begins with 'zz' here\n");
  EXPECT_EQ(explained("show drops --limit "), "  'show drops' has no option --limit\n");
}

TEST_F(Completion, FoldsLongHelpUnderItself) {
  EXPECT_EQ(explained("drain ", 50),
            "  endpoint   let an endpoint keep its flows and\n"
            "             get no new ones\n"
            "  dataplane  let the dataplane keep its flows, get\n"
            "             no new ones, and end after the last\n");
}

TEST_F(Completion, TheEmptyLineListsEveryFirstWord) {
  const std::string text = explained("");
  for (const char* word : {"apply", "diff", "delete", "show", "drain", "undrain", "help", "quit", "exit"}) {
    EXPECT_NE(text.find(std::string("  ") + word + " "), std::string::npos) << word;
  }
}

TEST(Names, AreThoseOfTheRunningProcesses) {
  TemporaryDirectory directory;
  const FakeProcess dataplane(
      directory.path() + "/dataplane.sock",
      {{"vips", R"({"ok":true,"vips":[{"name":"https","virtual_host":"","address":"10.9.0.2"},
                   {"name":"https","virtual_host":"shop","address":"10.9.0.2"}]})"},
       {"captures", R"({"ok":true,"captures":[{"id":4,"file":"/tmp/x.pcapng"}]})"},
       {"ports", R"({"ok":true,"ports":[{"name":"outside","driver":"net_af_xdp"}]})"},
       {"drops", R"({"ok":true,"drops":[{"name":"drop.no_flow","help":"x"},{"name":"own.refused","help":"x"}]})"}});
  const Peers peers(directory.path());
  const Names names(peers, all_commands());
  const Grammar grammar(all_commands(), interactive_options(), true);
  const auto listing = [&](const char* line) { return complete_line(grammar, names, line, {}).listing; };
  const auto text = [&](const char* line) { return complete_line(grammar, names, line, {}).text; };
  EXPECT_EQ(listing("show flows vip "), "  https  10.9.0.2\n  shop   10.9.0.2\n") << "a name once, also that of a virtual host";
  EXPECT_EQ(text("show flows --vip s"), "hop ");
  EXPECT_EQ(text("show flows state est"), "ablished ");
  EXPECT_EQ(text("capture stop "), "4 ");
  EXPECT_EQ(text("show ports o"), "utside ");
  EXPECT_EQ(text("trace add verdict rej"), "ect ");
  EXPECT_EQ(listing("trace add verdict own"), "");
}

}  // namespace
}  // namespace sluice::completion_test

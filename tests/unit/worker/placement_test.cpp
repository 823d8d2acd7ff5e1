#include "worker/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Outcome nothing(JobContext&) { return Outcome::ack(); }
void nothing_async(const std::shared_ptr<AsyncJob>&) {}

class PlacementTest : public testing::Test {
 protected:
  PlacementTest() {
    registry_.add("sleep", {kPoolLoop, nothing, {}, nothing_async});
    registry_.add("sum", {kPoolCpu, nothing});
    registry_.add("echo", {kPoolIo, nothing});
    Kind program{kPoolProcess, nullptr};
    program.command = {"python3", "resize.py"};
    registry_.add("resize", program);
  }
  /// The pools, or what was wrong.
  std::string placed(std::initializer_list<const char*> texts = {}) {
    std::vector<ExecutorChoice> choices;
    for (const char* text : texts) {
      auto choice = parse_executor_choice(text);
      if (!choice) return choice.error().message;
      choices.push_back(*choice);
    }
    const auto plans = place(registry_, sizes_, choices);
    return plans ? describe(*plans) : plans.error().message;
  }

  Registry registry_;
  PoolSizes sizes_{.io = 6, .cpu = 2, .processes = 2, .loop = 256};
};

TEST_F(PlacementTest, WithoutAChoiceAKindRunsWhereItsAuthorWantsIt) {
  EXPECT_EQ(placed(), "io 6, process.resize 2, loop 256, cpu 2");
  EXPECT_EQ(registry_.find("resize")->pool, "process.resize");
}

TEST_F(PlacementTest, AChoiceWithASizeMakesAPoolOfItsOwn) {
  EXPECT_EQ(placed({"sum=process:4", "sleep=loop:1000", "echo=thread:1"}),
            "thread.echo 1, process.resize 2, loop.sleep 1000, process.sum 4");
}

TEST_F(PlacementTest, TheLastChoiceOfAKindCounts) {
  EXPECT_EQ(placed({"sum=process:4", "sum=thread"}), "io 6, process.resize 2, loop 256, cpu 2");
}

TEST_F(PlacementTest, AKindWhosePoolIsEmptyIsNotOffered) {
  sizes_.io = 0;
  placed();
  EXPECT_EQ(registry_.find("echo"), nullptr);
}

TEST_F(PlacementTest, WhatCannotBeIsSaid) {
  EXPECT_THAT(placed({"sum=loop"}), HasSubstr("cannot run on the loop"));
  EXPECT_THAT(placed({"resize=thread"}), HasSubstr("is a program: it runs in processes"));
  EXPECT_THAT(placed({"draw=thread"}), HasSubstr("this worker has no kind `draw`"));
  for (const char* text : {"sum", "sum=", "sum=fibre", "sum=thread:0", "sum=thread:4097",
                           "sum=thread:x", "sum=thread:"})
    EXPECT_THAT(placed({text}), testing::AnyOf(HasSubstr("use KIND=thread|process|loop[:SIZE]"),
                                               HasSubstr("no size of a pool")))
        << text;
}

TEST_F(PlacementTest, NothingToOfferIsAnError) {
  sizes_ = {};
  EXPECT_EQ(placed(), "every pool has size 0: nothing could run");
}

TEST_F(PlacementTest, ALongNameIsCutAndStaysAName) {
  const std::string a = std::string(63, 'k') + "a";
  const std::string b = std::string(63, 'k') + "b";
  registry_.add(a, {kPoolProcess, nothing});
  registry_.add(b, {kPoolProcess, nothing});
  placed();
  EXPECT_TRUE(is_name(registry_.find(a)->pool));
  EXPECT_NE(registry_.find(a)->pool, registry_.find(b)->pool);
}

TEST(ProgramKind, WordsAreSplitAsAShellDoes) {
  const auto program = parse_program_kind(R"(resize=python3 'my dir/a b.py' "x\"y" c\ d '' )");
  ASSERT_TRUE(program);
  EXPECT_EQ(program->name, "resize");
  EXPECT_THAT(program->command, ElementsAre("python3", "my dir/a b.py", "x\"y", "c d", ""));
}

TEST(ProgramKind, NothingElseOfAShellWorks) {
  const auto program = parse_program_kind("k=echo $HOME;ls *");
  ASSERT_TRUE(program);
  EXPECT_THAT(program->command, ElementsAre("echo", "$HOME;ls", "*"));
}

TEST(ProgramKind, WhatIsWrongIsSaid) {
  for (const char* text : {"resize", "=python3", "Resize=python3",
                           "resize=", "resize=  ", "resize='python3", "resize=''"})
    EXPECT_FALSE(parse_program_kind(text)) << text;
}

}  // namespace
}  // namespace millrace::worker

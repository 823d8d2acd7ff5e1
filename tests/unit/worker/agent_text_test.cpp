#include <gtest/gtest.h>

#include "worker/agent.h"

namespace millrace::worker {
namespace {

TEST(AgentFarewell, TellsWhoDidNothingWhatToDo) {
  EXPECT_EQ(drained_text({.queues = {{"default", 1}}, .reason = "drained"}, {}),
            "queue `default` is drained (generation 1): enqueue first, or "
            "`millrace-producer open default`, or start with `--until forever`");
}

TEST(AgentFarewell, SumsUpWhatWasDone) {
  EXPECT_EQ(drained_text({.queues = {{"mail", 3}}, .reason = "drained"},
                         {.ran = 12, .failed = 2, .released = 0}),
            "queue `mail` is drained (generation 3); ran 12 jobs (2 failed)");
}

TEST(AgentFarewell, NamesEveryQueue) {
  EXPECT_EQ(drained_text({.queues = {{"a", 1}, {"b", 4}}, .reason = "drained"},
                         {.ran = 1, .failed = 0, .released = 0}),
            "queue `a` is drained (generation 1), queue `b` is drained (generation 4); "
            "ran 1 job (0 failed)");
}

TEST(AgentFarewell, SaysWhoseWordItWas) {
  EXPECT_EQ(drained_text({.queues = {{"default", 1}}, .reason = "dismissed"},
                         {.ran = 3, .failed = 1, .released = 0}),
            "dismissed by the operator; ran 3 jobs (1 failed)");
}

TEST(AgentFarewell, SaysThatTheQueueIsEmpty) {
  EXPECT_EQ(drained_text({.queues = {{"default", 1}}, .reason = "empty"}, {}),
            "queue `default` is empty: nothing to do");
  EXPECT_EQ(drained_text({.queues = {{"default", 1}}, .reason = "empty"},
                         {.ran = 3, .failed = 0, .released = 0}),
            "queue `default` is empty; ran 3 jobs (0 failed)");
}

}  // namespace
}  // namespace millrace::worker

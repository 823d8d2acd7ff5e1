#include "producer/replay_run.h"

#include <gmock/gmock.h>

namespace millrace::producer {
namespace {

protocol::JobInfo done(Payload result) {
  protocol::JobInfo job;
  job.state = JobState::done;
  job.result = std::move(result);
  return job;
}

protocol::JobInfo dead(std::string error) {
  protocol::JobInfo job;
  job.state = JobState::dead;
  job.error = std::move(error);
  return job;
}

TEST(EndedAlike, ResultsAreComparedByTheByte) {
  EXPECT_TRUE(ended_alike(done(Payload::text("1")), done(Payload::text("1"))));
  EXPECT_FALSE(ended_alike(done(Payload::text("1")), done(Payload::text("1 "))));
  EXPECT_FALSE(ended_alike(done(Payload::text("1")), done(Payload::binary("1"))));
  EXPECT_FALSE(ended_alike(done(Payload::text("")), done({})));
}

TEST(EndedAlike, StatesDiffer) {
  EXPECT_FALSE(ended_alike(done({}), dead("")));
  EXPECT_FALSE(ended_alike(dead("timeout"), done({})));
}

TEST(EndedAlike, DeadJobsAreComparedByTheirErrorWord) {
  EXPECT_TRUE(ended_alike(dead("refused: by 127.0.0.1:2"), dead("refused: by 127.0.0.1:9")));
  EXPECT_FALSE(ended_alike(dead("refused: no"), dead("timeout: no")));
  EXPECT_TRUE(ended_alike(dead(""), dead("")));
}

TEST(EndedAlike, AttemptsMakeNoDifference) {
  protocol::JobInfo again = done(Payload::text("1"));
  again.attempts = 3;
  EXPECT_TRUE(ended_alike(again, done(Payload::text("1"))));
}

TEST(ErrorWord, EndsAtTheFirstColonSpaceOrLine) {
  EXPECT_EQ(error_word("refused: connection refused"), "refused");
  EXPECT_EQ(error_word("no luck"), "no");
  EXPECT_EQ(error_word("dns\nmore"), "dns");
  EXPECT_EQ(error_word("tls"), "tls");
  EXPECT_EQ(error_word(""), "");
}

}  // namespace
}  // namespace millrace::producer

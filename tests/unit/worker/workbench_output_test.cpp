// What runs leave behind, on its way to the broker beside their outcomes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "workbench_fixture.h"

namespace millrace::worker {
namespace {

using protocol::ItemStatus;
using testing::StartsWith;

class WorkbenchOutputTest : public WorkbenchTest {
 protected:
  WorkbenchOutputTest() {
    deliver({1, 2});
    link_.clear();
  }
  void log(std::uint64_t lease, std::string_view line) {
    outputs_.log(job(lease), {}, line);
    turn();
  }
  void chunk(std::uint64_t lease) {
    outputs_.chunk(job(lease), {}, Payload::text("part"));
    turn();
  }
  const Job& job(std::uint64_t lease) { return io_.started.at(lease - 1); }
  /// The only OUTPUT since the last clear(): which request it was.
  std::uint64_t sent_output() {
    std::uint64_t correlation = 0;
    for (const auto& entry : link_.sent)
      if (std::holds_alternative<protocol::Output>(entry.message)) correlation = entry.correlation;
    EXPECT_NE(correlation, 0U);
    return correlation;
  }
  void answer(std::uint64_t correlation, const protocol::Message& reply) {
    EXPECT_TRUE(bench_->answered(correlation, reply, now_));
    turn();
  }
  static protocol::Settled settled(std::vector<ItemStatus> statuses) {
    protocol::Settled reply;
    reply.statuses = std::move(statuses);
    return reply;
  }
  static protocol::ErrorReply busy(Duration after) {
    return {.code = "busy", .message = "later", .retryable = true, .after = after};
  }
};

TEST_F(WorkbenchOutputTest, AnOutcomeWaitsForTheOutputOfItsRun) {
  log(1, "line");
  EXPECT_EQ(link_.only<protocol::Output>().items.at(0).data, Payload::text("line"));
  const std::uint64_t output = sent_output();
  complete(1, Outcome::ack());
  EXPECT_FALSE(link_.has<protocol::Ack>());
  EXPECT_EQ(bench_->unsettled_results(), 1U);
  EXPECT_EQ(bench_->running(), 1U);

  answer(output, settled({ItemStatus::ok}));

  EXPECT_EQ(link_.only<protocol::Ack>().items.at(0).lease, LeaseId{1});
  settle_last();
  EXPECT_EQ(bench_->held(), 1U);
}

TEST_F(WorkbenchOutputTest, ARunThatLeavesNothingBehindDoesNotWait) {
  log(1, "of the other");
  complete(2, Outcome::ack());

  EXPECT_EQ(link_.only<protocol::Ack>().items.at(0).lease, LeaseId{2});
}

TEST_F(WorkbenchOutputTest, OneMessageIsOnItsWayAtATime) {
  log(1, "one");
  const std::uint64_t first = sent_output();
  log(2, "two");
  log(1, "three");
  EXPECT_EQ(link_.only<protocol::Output>().items.size(), 1U);
  link_.clear();

  answer(first, settled({ItemStatus::ok}));

  EXPECT_EQ(link_.only<protocol::Output>().items.size(), 2U);
}

TEST_F(WorkbenchOutputTest, ABusyBrokerGetsTheSameAgainAndTheOutcomeLater) {
  log(1, "line");
  complete(1, Outcome::ack());
  answer(sent_output(), busy(Duration{700}));
  EXPECT_EQ(bench_->next_deadline(), now_ + Duration{700});
  link_.clear();
  log(2, "also waits");
  now_ += Duration{699};
  turn();
  EXPECT_TRUE(link_.sent.empty());

  now_ += Duration{1};
  turn();

  const auto& item = link_.only<protocol::Output>().items.at(0);
  EXPECT_EQ(item.data, Payload::text("line"));
  EXPECT_EQ(item.n, 1U);
  EXPECT_FALSE(link_.has<protocol::Ack>());
  answer(sent_output(), settled({ItemStatus::ok}));
  EXPECT_TRUE(link_.has<protocol::Ack>());
}

TEST_F(WorkbenchOutputTest, AfterAReconnectItIsSentAgainWhenTheLeasesAreKnown) {
  log(1, "line");
  complete(1, Outcome::ack());
  const std::uint64_t before = sent_output();
  link_.clear();

  bench_->connected({});
  turn();
  EXPECT_FALSE(link_.has<protocol::Output>());
  EXPECT_EQ(link_.forgotten, std::vector{before});
  protocol::Resumed resumed;
  resumed.keep = {LeaseId{1}, LeaseId{2}};
  bench_->resumed(resumed);
  turn();

  EXPECT_EQ(link_.only<protocol::Output>().items.at(0).n, 1U);
  EXPECT_FALSE(link_.has<protocol::Ack>());
  answer(sent_output(), settled({ItemStatus::duplicate}));
  EXPECT_TRUE(link_.has<protocol::Ack>());
}

TEST_F(WorkbenchOutputTest, TheLastProgressLeavesBeforeTheOutcome) {
  outputs_.progress(job(1), 1, 2, "");
  turn();
  answer(sent_output(), settled({ItemStatus::ok}));
  outputs_.progress(job(1), 2, 2, "");
  link_.clear();

  complete(1, Outcome::ack());

  EXPECT_THAT(link_.only<protocol::Output>().items.at(0).data.bytes, StartsWith(R"({"done":2,)"));
  answer(sent_output(), settled({ItemStatus::ok}));
  EXPECT_TRUE(link_.has<protocol::Ack>());
}

TEST_F(WorkbenchOutputTest, ProgressIsSentWhenItsTimeHasCome) {
  outputs_.progress(job(1), 1, 2, "");
  turn();
  answer(sent_output(), settled({ItemStatus::ok}));
  outputs_.progress(job(1), 2, 2, "");
  turn();
  link_.clear();
  ASSERT_EQ(bench_->next_deadline(), now_ + kProgressEvery);

  now_ += kProgressEvery;
  turn();

  EXPECT_TRUE(link_.has<protocol::Output>());
}

TEST_F(WorkbenchOutputTest, ARunWhoseChunkWasRefusedIsNotDone) {
  chunk(1);
  const std::uint64_t output = sent_output();
  complete(1, Outcome::ack(Payload::text("all of it")));

  answer(output, settled({ItemStatus::refused}));

  EXPECT_FALSE(link_.has<protocol::Ack>());
  EXPECT_THAT(link_.only<protocol::Nack>().items.at(0).error, StartsWith("output_refused: "));
  EXPECT_EQ(bench_->tally().failed, 1U);
}

TEST_F(WorkbenchOutputTest, ARunWhoseLogWasRefusedIsDone) {
  log(1, "line");
  const std::uint64_t output = sent_output();
  complete(1, Outcome::ack());

  answer(output, protocol::ErrorReply{.code = "unknown_type", .message = "what?"});

  EXPECT_TRUE(link_.has<protocol::Ack>());
}

TEST_F(WorkbenchOutputTest, OfARevokedRunNothingMoreIsSent) {
  log(1, "before");
  const std::uint64_t output = sent_output();
  outputs_.log(job(1), {}, "waits");
  link_.clear();

  bench_->revoke({LeaseId{1}}, StopReason::cancelled);
  complete(1, Outcome::ack(), StopReason::cancelled);
  answer(output, settled({ItemStatus::stale}));

  for (const auto& entry : link_.sent)
    EXPECT_TRUE(std::holds_alternative<protocol::Credit>(entry.message));
  EXPECT_EQ(bench_->held(), 1U);
}

TEST_F(WorkbenchOutputTest, AnOutcomeThatWaitsEndsWithTheSecondDrop) {
  log(1, "line");
  complete(1, Outcome::ack());
  const std::uint64_t output = sent_output();
  protocol::Resumed resumed;
  resumed.drop = {LeaseId{1}};
  bench_->resumed(resumed);
  EXPECT_EQ(bench_->unsettled_results(), 1U);

  bench_->resumed(resumed);

  EXPECT_EQ(bench_->held(), 1U);
  EXPECT_EQ(bench_->unsettled_results(), 0U);
  answer(output, settled({ItemStatus::stale}));
  EXPECT_FALSE(link_.has<protocol::Ack>());
}

TEST_F(WorkbenchOutputTest, OutputThatIsNotSettledStopsTheCredit) {
  outputs_.log(job(1), {}, std::string(1000, 'x'));
  turn();
  const std::uint64_t output = sent_output();
  link_.clear();
  complete(2, Outcome::ack());
  EXPECT_FALSE(link_.has<protocol::Credit>());

  answer(output, settled({ItemStatus::ok}));

  EXPECT_TRUE(link_.has<protocol::Credit>());
}

}  // namespace
}  // namespace millrace::worker

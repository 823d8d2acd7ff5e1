// What runs enqueue, on its way to the broker, and the outcomes that wait for it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "workbench_fixture.h"

namespace millrace::worker {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

class ChildSenderTest : public WorkbenchTest {
 protected:
  ChildSenderTest() {
    protocol::Welcome welcome;
    welcome.enqueue_jobs_max = 3;
    welcome.enqueue_bytes_max = 700;
    bench_->connected(welcome);
    bench_->resumed({});
    deliver({1, 2});
    link_.clear();
  }
  const Job& job(std::uint64_t lease) { return io_.started.at(lease - 1); }
  void enqueue(std::uint64_t lease, std::size_t count, const std::string& queue = {},
               std::stop_token stop = {}) {
    const std::vector<JobRequest> jobs(count, JobRequest{.kind = "echo"});
    enqueue_jobs(lease, jobs, queue, std::move(stop));
  }
  void enqueue_jobs(std::uint64_t lease, std::vector<JobRequest> jobs,
                    const std::string& queue = {}, std::stop_token stop = {}) {
    children_.enqueue(job(lease), std::move(stop), std::move(jobs), queue,
                      [this](ChildJobs::Answer answer) { answers_.push_back(std::move(answer)); });
    turn();
  }
  protocol::Enqueue sent() { return link_.only<protocol::Enqueue>(); }
  /// The newest message was taken; its jobs begin at `first`.
  void accept(std::uint64_t first) {
    const std::uint64_t count = sent().jobs.size();
    answer({}, protocol::Enqueued{BatchId{1}, JobId{first}, count, {}, {}});
  }
  void refuse(const std::string& code, bool retryable, Duration after = {}) {
    answer({}, protocol::ErrorReply{code, "no", retryable, after});
  }
  void answer(std::uint64_t correlation, const protocol::Message& reply) {
    const std::uint64_t asked = correlation != 0 ? correlation : link_.last;
    link_.clear();
    EXPECT_TRUE(bench_->answered(asked, reply, now_));
    turn();
  }

  std::vector<ChildJobs::Answer> answers_;
};

TEST_F(ChildSenderTest, TheBrokerIsAskedUnderTheLeaseOfTheRun) {
  enqueue_jobs(1, {{.kind = "echo", .payload = Payload::text("7"), .priority = 3}});

  const protocol::Enqueue message = sent();
  EXPECT_EQ(message.lease, LeaseId{1});
  EXPECT_EQ(message.queue, "default");
  EXPECT_FALSE(message.seal);
  EXPECT_FALSE(message.batch);
  EXPECT_NE(message.request.prefix, 0U);
  EXPECT_EQ(message.request.counter, 1U);
  ASSERT_EQ(message.jobs.size(), 1U);
  EXPECT_EQ(message.jobs[0].payload, Payload::text("7"));
  EXPECT_EQ(message.jobs[0].priority, 3);
  EXPECT_TRUE(answers_.empty());

  accept(40);

  ASSERT_EQ(answers_.size(), 1U);
  EXPECT_THAT(answers_[0].value(), ElementsAre(JobId{40}));
}

TEST_F(ChildSenderTest, AnotherQueueMayBeNamed) {
  enqueue(1, 1, "mail");

  EXPECT_EQ(sent().queue, "mail");
}

TEST_F(ChildSenderTest, AnOutcomeWaitsForTheAnswer) {
  enqueue(1, 1);
  const std::uint64_t asked = link_.last;
  complete(1, Outcome::ack());
  EXPECT_FALSE(link_.has<protocol::Ack>());
  EXPECT_EQ(bench_->unsettled_results(), 1U);
  complete(2, Outcome::ack());
  EXPECT_EQ(link_.only<protocol::Ack>().items.at(0).lease, LeaseId{2});

  answer(asked, protocol::Enqueued{BatchId{1}, JobId{40}, 1, {}, {}});

  EXPECT_EQ(link_.only<protocol::Ack>().items.at(0).lease, LeaseId{1});
}

TEST_F(ChildSenderTest, AnOutcomeWaitsForTheAnswerAndThenForTheOutput) {
  enqueue(1, 1);
  const std::uint64_t asked = link_.last;
  outputs_.log(job(1), {}, "line");
  turn();
  const std::uint64_t output = link_.last;
  ASSERT_NE(output, asked);
  complete(1, Outcome::ack());

  answer(asked, protocol::Enqueued{BatchId{1}, JobId{40}, 1, {}, {}});
  EXPECT_FALSE(link_.has<protocol::Ack>());
  protocol::Settled settled;
  settled.statuses = {protocol::ItemStatus::ok};
  answer(output, settled);

  EXPECT_TRUE(link_.has<protocol::Ack>());
}

TEST_F(ChildSenderTest, ManyJobsGoInSeveralMessagesOneAfterTheOther) {
  enqueue(1, 5);
  EXPECT_EQ(sent().jobs.size(), 2U);  // of 700 bytes each takes 320 and its words
  accept(40);
  EXPECT_EQ(sent().jobs.size(), 2U);
  EXPECT_EQ(sent().request.counter, 2U);
  accept(60);
  accept(80);

  ASSERT_EQ(answers_.size(), 1U);
  EXPECT_THAT(answers_[0].value(),
              ElementsAre(JobId{40}, JobId{41}, JobId{60}, JobId{61}, JobId{80}));
}

TEST_F(ChildSenderTest, OneJobIsAlwaysAllowed) {
  enqueue_jobs(1, {{.kind = "echo", .payload = Payload::text(std::string(5000, 'x'))}});

  EXPECT_EQ(sent().jobs.size(), 1U);
}

TEST_F(ChildSenderTest, IdsOfJobsThatWereThereBeforeStandInTheirPlace) {
  enqueue(1, 2);

  answer({}, protocol::Enqueued{BatchId{1}, JobId{40}, 1, {JobId{7}, JobId{40}}, {}});

  EXPECT_THAT(answers_.at(0).value(), ElementsAre(JobId{7}, JobId{40}));
}

TEST_F(ChildSenderTest, ABusyBrokerIsAskedTheSameAgain) {
  enqueue(1, 1);
  complete(1, Outcome::ack());
  const protocol::Enqueue first = sent();

  refuse("busy", true, Duration{700});
  EXPECT_TRUE(link_.sent.empty());
  EXPECT_EQ(bench_->next_deadline(), now_ + Duration{700});
  now_ += Duration{700};
  turn();

  EXPECT_EQ(sent().request, first.request);
  EXPECT_FALSE(link_.has<protocol::Ack>());
  accept(40);
  EXPECT_TRUE(answers_.at(0).has_value());
  EXPECT_TRUE(link_.has<protocol::Ack>());
}

TEST_F(ChildSenderTest, ARefusalIsTheAnswer) {
  enqueue(1, 1);
  refuse("queue_closed", true);
  enqueue(1, 1);
  refuse("unique_conflict", true);
  enqueue(1, 1);
  refuse("bad_request", false);
  enqueue(1, 1);
  refuse("queue_full", true, Duration{1000});

  ASSERT_EQ(answers_.size(), 4U);
  EXPECT_EQ(answers_[0].error().code, ErrorCode::queue_closed);
  EXPECT_EQ(answers_[1].error().code, ErrorCode::unique_conflict);
  EXPECT_EQ(answers_[2].error().code, ErrorCode::bad_request);
  EXPECT_EQ(answers_[3].error().code, ErrorCode::queue_full);
}

TEST_F(ChildSenderTest, ALeaseThatIsLostEndsItsCalls) {
  enqueue(1, 1);
  const std::uint64_t asked = link_.last;

  bench_->revoke({LeaseId{1}}, StopReason::cancelled);

  ASSERT_EQ(answers_.size(), 1U);
  EXPECT_EQ(answers_[0].error().code, ErrorCode::lease_lost);
  EXPECT_THAT(link_.forgotten, ElementsAre(asked));
  complete(1, Outcome::ack(), StopReason::cancelled);
  EXPECT_FALSE(link_.has<protocol::Ack>());
  EXPECT_EQ(bench_->held(), 1U);
}

TEST_F(ChildSenderTest, WhatWasNotSentWhenStopIsRequestedIsNotSent) {
  std::stop_source stop;
  enqueue(1, 1, {}, stop.get_token());
  refuse("storage_full", true, Duration{60'000});

  stop.request_stop();
  complete(1, Outcome::nack("stopped"), StopReason::shutdown);

  EXPECT_EQ(answers_.at(0).error().code, ErrorCode::stopping);
  EXPECT_TRUE(link_.has<protocol::Release>());
}

TEST_F(ChildSenderTest, AnEmptyCallIsAnsweredAtOnce) {
  enqueue(1, 0);

  EXPECT_TRUE(answers_.at(0).value().empty());
  EXPECT_TRUE(link_.sent.empty());
}

TEST_F(ChildSenderTest, WhatACallbackEnqueuesKeepsTheOutcomeWaiting) {
  children_.enqueue(job(1), {}, {{.kind = "echo"}}, {}, [this](const ChildJobs::Answer& answer) {
    EXPECT_TRUE(answer.has_value());
    children_.enqueue(job(1), {}, {{.kind = "echo"}}, {}, [](const ChildJobs::Answer&) {});
  });
  turn();
  complete(1, Outcome::ack());

  accept(40);
  EXPECT_FALSE(link_.has<protocol::Ack>());
  turn();
  accept(41);

  EXPECT_TRUE(link_.has<protocol::Ack>());
}

// ---- a run whose process was lost --------------------------------------------------------------

class CrashedRunTest : public WorkbenchTest {
 protected:
  void crash(std::uint64_t lease, StopReason stopped = StopReason::none) {
    std::vector<Completion> completions;
    completions.push_back({.lease = LeaseId{lease},
                           .outcome = Outcome::nack("crash: signal 11"),
                           .stopped = stopped,
                           .elapsed = std::chrono::seconds{1},
                           .crashed = true});
    bench_->complete(std::move(completions));
    turn();
  }
};

TEST_F(CrashedRunTest, ItIsToldByANack) {
  deliver({1});

  crash(1);

  const protocol::Outcome item = link_.only<protocol::Nack>().items.at(0);
  EXPECT_TRUE(item.crashed);
  EXPECT_EQ(item.error, "crash: signal 11");
}

TEST_F(CrashedRunTest, WhatWasToEndHasNotCrashed) {
  deliver({1, 2});

  crash(1, StopReason::timeout);
  crash(2, StopReason::shutdown);

  const protocol::Outcome late = link_.only<protocol::Nack>().items.at(0);
  EXPECT_FALSE(late.crashed);
  EXPECT_THAT(late.error, StartsWith("timeout"));
  EXPECT_FALSE(link_.only<protocol::Release>().items.at(0).crashed);
}

}  // namespace
}  // namespace millrace::worker

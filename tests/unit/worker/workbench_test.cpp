#include "worker/workbench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "workbench_fixture.h"

namespace millrace::worker {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TEST_F(WorkbenchTest, StartsWhatFitsAndTellsBeforehand) {
  deliver({1, 2, 3});

  EXPECT_THAT(link_.only<protocol::Started>().leases, ElementsAre(LeaseId{1}, LeaseId{2}));
  EXPECT_THAT(started_on_io(), ElementsAre(1, 2));
  EXPECT_EQ(bench_->heartbeat().held, 3U);
}

TEST_F(WorkbenchTest, HandsOverWhatTheBrokerTellsOfAJob) {
  protocol::Jobs jobs{.pool = "io", .items = {delivery(1)}};
  jobs.items[0].attempt = 2;
  jobs.items[0].max_attempts = 5;
  jobs.items[0].deliveries = 4;
  jobs.items[0].timeout = Duration{700};

  bench_->deliver(std::move(jobs));
  turn();

  const Job& job = io_.started.at(0);
  EXPECT_EQ(job.attempt, 2);
  EXPECT_EQ(job.max_attempts, 5);
  EXPECT_EQ(job.deliveries, 4);
  EXPECT_EQ(job.timeout, Duration{700});
}

TEST_F(WorkbenchTest, ARejectIsForEverAndANackWithoutADelayIsByPolicy) {
  deliver({1, 2});
  complete(1, Outcome::reject("bad_payload: no"));
  complete(2, Outcome::nack("refused: later"));

  EXPECT_EQ(link_.only<protocol::Reject>().items.at(0).error, "bad_payload: no");
  EXPECT_EQ(link_.only<protocol::Nack>().items.at(0).delay, Duration{-1});
}

TEST_F(WorkbenchTest, StartsTheNextWhenASlotIsFreeThoughTheResultIsNotSettled) {
  deliver({1, 2, 3});
  link_.clear();

  complete(1, Outcome::ack());

  EXPECT_THAT(link_.only<protocol::Started>().leases, ElementsAre(LeaseId{3}));
  EXPECT_THAT(started_on_io(), ElementsAre(1, 2, 3));
}

TEST_F(WorkbenchTest, CreditLeavesWithTheOutcome) {
  deliver({1, 2});
  complete(1, Outcome::ack());

  EXPECT_EQ(link_.only<protocol::Credit>().upto.at("io"), 3U);
  EXPECT_TRUE(std::holds_alternative<protocol::Ack>(link_.sent.end()[-2].message));
  EXPECT_EQ(bench_->heartbeat().held, 2U) << "the broker still holds the lease";

  settle_last();
  EXPECT_EQ(bench_->heartbeat().credit.at("io"), 3U);
  EXPECT_EQ(bench_->heartbeat().held, 1U);
  EXPECT_EQ(bench_->heartbeat().held_hash, protocol::lease_hash(LeaseId{2}));
}

TEST_F(WorkbenchTest, UnsettledOutcomesUseCreditWhenThereAreMoreThanTheWindow) {
  deliver({1, 2});
  for (const std::uint64_t lease : {1, 2}) complete(lease, Outcome::ack());
  EXPECT_EQ(bench_->heartbeat().credit.at("io"), 4U);
  deliver({3, 4});
  for (const std::uint64_t lease : {3, 4}) complete(lease, Outcome::ack());

  EXPECT_EQ(bench_->heartbeat().credit.at("io"), 4U) << "two are settled at the most";
}

TEST_F(WorkbenchTest, APoolMayUseTheLeasesThatOthersDoNotWant) {
  protocol::Welcome welcome;
  welcome.leases_max = 13;  // ten above the slots
  bench_->connected(welcome);
  bench_->resumed({});
  for (std::uint64_t lease = 1; lease <= 40; ++lease) {
    deliver({lease});
    std::vector<Completion> quick;
    quick.push_back({.lease = LeaseId{lease}, .elapsed = std::chrono::microseconds{100}});
    bench_->complete(std::move(quick));
    turn();
    settle_last();
  }

  EXPECT_EQ(bench_->heartbeat().credit.at("io") - 40, 2U + 10U);
}

TEST_F(WorkbenchTest, APoolOfManySlotsLeavesThoseOfTheOthersAlone) {
  FakeExecutor loop(400);
  Workbench bench(link_, registry_, {{"io", &io_}, {"loop", &loop}}, outputs_, children_);
  protocol::Welcome welcome;
  welcome.leases_max = 100;
  bench.connected(welcome);
  bench.resumed({});

  EXPECT_EQ(bench.heartbeat().credit.at("io"), 2U) << "all its slots";
  EXPECT_EQ(bench.heartbeat().credit.at("loop"), 98U);
}

TEST_F(WorkbenchTest, ShortFirstTriesFollowEachOtherInASlot) {
  io_.depth = 4;
  deliver({1});
  std::vector<Completion> quick;
  quick.push_back({.lease = LeaseId{1}, .elapsed = std::chrono::microseconds{100}});
  bench_->complete(std::move(quick));
  turn();
  link_.clear();

  deliver({2, 3, 4, 5, 6, 7, 8, 9, 10, 11});

  EXPECT_EQ(started_on_io().size(), 1U + 2 * 4);
  EXPECT_THAT(link_.only<protocol::Started>().leases, ElementsAre(LeaseId{2}, LeaseId{3}))
      << "what waits in a slot has not started";
  EXPECT_EQ(*bench_->next_deadline(), now_ + kBatchLook);
}

TEST_F(WorkbenchTest, WhatWasTriedBeforeOrHasATimeoutWaitsForASlotOfItsOwn) {
  io_.depth = 4;
  deliver({1});
  std::vector<Completion> quick;
  quick.push_back({.lease = LeaseId{1}, .elapsed = std::chrono::microseconds{100}});
  bench_->complete(std::move(quick));
  for (const bool tried : {false, true}) {
    protocol::Jobs jobs{.pool = "io", .items = {}};
    for (const std::uint64_t lease : {2, 3, 4, 5})
      jobs.items.push_back(delivery(lease + (tried ? 10 : 0)));
    if (tried)
      jobs.items[0].deliveries = 2;
    else
      jobs.items[2].timeout = Duration{1000};
    bench_->deliver(std::move(jobs));
    turn();
    EXPECT_THAT(started_on_io(), ElementsAre(1, 2, 3)) << "the third has to wait, and all behind";
  }
}

TEST_F(WorkbenchTest, SendsEachOutcomeByItsVerb) {
  deliver({1, 2});
  std::vector<Completion> both;
  both.push_back({.lease = LeaseId{1}, .outcome = Outcome::ack(Payload::text("ok"))});
  both.push_back({.lease = LeaseId{2}, .outcome = Outcome::nack("refused", Duration{200})});
  bench_->complete(std::move(both));
  turn();

  const auto& ack = link_.only<protocol::Ack>().items.at(0);
  EXPECT_EQ(ack.job, JobId{1001});
  EXPECT_EQ(ack.result, Payload::text("ok"));
  const auto& nack = link_.only<protocol::Nack>().items.at(0);
  EXPECT_EQ(nack.error, "refused");
  EXPECT_EQ(nack.delay, Duration{200});
  EXPECT_EQ(bench_->tally().ran, 2U);
  EXPECT_EQ(bench_->tally().failed, 1U);
}

TEST_F(WorkbenchTest, RejectsAResultAboveTheLimit) {
  deliver({1});
  complete(1, Outcome::ack(Payload::text(std::string(101, 'x'))));

  EXPECT_THAT(link_.only<protocol::Reject>().items.at(0).error,
              StartsWith("result_too_large: 101 bytes"));
}

TEST_F(WorkbenchTest, CutsALongErrorBetweenCharacters) {
  deliver({1});
  std::string error = "x";
  while (error.size() < 5000) error += "é";
  complete(1, Outcome::nack(error));

  const std::string& sent = link_.only<protocol::Nack>().items.at(0).error;
  EXPECT_EQ(sent.size(), Limits{}.error_bytes_max - 1);
}

TEST_F(WorkbenchTest, RefusesAKindItDoesNotHave) {
  bench_->deliver({.pool = "cpu", .items = {delivery(1, "resize")}});
  turn();

  EXPECT_THAT(link_.only<protocol::Nack>().items.at(0).error, StartsWith("unknown_kind: "));
  EXPECT_FALSE(link_.has<protocol::Started>());
}

TEST_F(WorkbenchTest, StopsARevokedRunAndSendsNothingOfIt) {
  deliver({1, 2, 3});
  bench_->revoke({LeaseId{1}, LeaseId{3}, LeaseId{99}}, StopReason::cancelled);
  EXPECT_THAT(io_.cancelled, ElementsAre(std::pair(LeaseId{1}, StopReason::cancelled)));
  EXPECT_EQ(bench_->held(), 1U);
  EXPECT_EQ(bench_->running(), 2U);
  link_.clear();

  complete(1, Outcome::ack(), StopReason::cancelled);

  EXPECT_FALSE(link_.has<protocol::Ack>());
  EXPECT_EQ(bench_->running(), 1U);
  EXPECT_THAT(started_on_io(), ElementsAre(1, 2));
}

TEST_F(WorkbenchTest, GivesBackWhatIsRecalledUnlessItHasStarted) {
  deliver({1, 2, 3, 4});
  bench_->recall({LeaseId{1}, LeaseId{4}});
  turn();

  const auto& items = link_.only<protocol::Release>().items;
  ASSERT_EQ(items.size(), 1U);
  EXPECT_EQ(items[0].lease, LeaseId{4});
}

TEST_F(WorkbenchTest, AsksAnOverdueRunToStopAndCallsItTimeout) {
  protocol::Jobs jobs{.pool = "io", .items = {delivery(1)}};
  jobs.items[0].timeout = Duration{500};
  bench_->deliver(std::move(jobs));
  turn();
  EXPECT_EQ(bench_->next_deadline(), now_ + Duration{500});

  now_ += Duration{500};
  turn();
  EXPECT_THAT(io_.cancelled, ElementsAre(std::pair(LeaseId{1}, StopReason::timeout)));
  complete(1, Outcome::ack(), StopReason::timeout);

  const auto& nack = link_.only<protocol::Nack>().items.at(0);
  EXPECT_THAT(nack.error, HasSubstr("timeout: no result within 500ms"));
  EXPECT_EQ(bench_->next_deadline(), std::nullopt);
}

TEST_F(WorkbenchTest, ForgetsTheTimeoutOfARunThatEnded) {
  protocol::Jobs jobs{.pool = "io", .items = {delivery(1)}};
  jobs.items[0].timeout = Duration{500};
  bench_->deliver(std::move(jobs));
  turn();
  now_ += Duration{499};
  complete(1, Outcome::ack());

  EXPECT_EQ(bench_->next_deadline(), std::nullopt);
}

TEST_F(WorkbenchTest, GivesBackWhatWaitsAndWhatComesWhenClosed) {
  deliver({1, 2, 3});
  bench_->close();
  turn();
  EXPECT_EQ(link_.only<protocol::Release>().items.at(0).lease, LeaseId{3});
  link_.clear();

  deliver({4});

  EXPECT_EQ(link_.only<protocol::Release>().items.at(0).lease, LeaseId{4});
  EXPECT_FALSE(link_.has<protocol::Started>());
  EXPECT_FALSE(link_.has<protocol::Credit>());
}

TEST_F(WorkbenchTest, GivesBackRunsThatFailBecauseTheWorkerEnds) {
  deliver({1, 2});
  bench_->close();
  bench_->stop_runs();
  EXPECT_EQ(io_.cancelled.size(), 2U);
  complete(1, Outcome::nack("cancelled: too early"), StopReason::shutdown);
  complete(2, Outcome::ack(), StopReason::shutdown);

  EXPECT_EQ(link_.only<protocol::Release>().items.at(0).lease, LeaseId{1});
  EXPECT_EQ(link_.only<protocol::Ack>().items.at(0).lease, LeaseId{2});
}

TEST_F(WorkbenchTest, SendsAgainWhatTheBrokerRefusedForTheMoment) {
  deliver({1});
  complete(1, Outcome::ack(Payload::text("kept")));
  const protocol::ErrorReply busy{
      .code = "busy", .message = "later", .retryable = true, .after = Duration{700}};
  EXPECT_TRUE(bench_->answered(link_.last, busy, now_));
  EXPECT_EQ(bench_->unsettled_results(), 1U);
  link_.clear();

  now_ += Duration{699};
  turn();
  EXPECT_FALSE(link_.has<protocol::Ack>());
  now_ += Duration{1};
  turn();

  EXPECT_EQ(link_.only<protocol::Ack>().items.at(0).result, Payload::text("kept"));
  settle_last();
  EXPECT_EQ(bench_->held(), 0U);
}

TEST_F(WorkbenchTest, ResumeNamesWaitingRunningAndUnsettledLeases) {
  deliver({1, 2, 3});
  complete(1, Outcome::ack());
  bench_->revoke({LeaseId{2}}, StopReason::cancelled);
  deliver({4});

  const auto leases = bench_->resume(now_ + Duration{250}).leases;

  ASSERT_EQ(leases.size(), 3U);
  EXPECT_TRUE(leases[0].started);  // 1: unsettled
  EXPECT_EQ(leases[0].elapsed, Duration{1000});
  EXPECT_TRUE(leases[1].started);  // 3: running
  EXPECT_EQ(leases[1].elapsed, Duration{250});
  EXPECT_FALSE(leases[2].started);  // 4: waiting
}

TEST_F(WorkbenchTest, StopsRunsThatTheBrokerDoesNotKeep) {
  deliver({1, 2, 3});
  bench_->connected({});
  EXPECT_TRUE(bench_->heartbeat().credit.empty());
  protocol::Resumed resumed;
  resumed.keep = {LeaseId{1}};
  resumed.drop = {LeaseId{2}, LeaseId{3}};
  resumed.delivered = {{"io", 1}};
  bench_->resumed(resumed);
  turn();

  EXPECT_THAT(io_.cancelled, ElementsAre(std::pair(LeaseId{2}, StopReason::dropped)));
  EXPECT_EQ(bench_->held(), 1U);
  // Both slots are taken: nothing beyond delivery 1 until the dropped run returns.
  EXPECT_EQ(bench_->heartbeat().credit.at("io"), 1U);
  complete(2, Outcome::nack("stopped"), StopReason::dropped);
  EXPECT_EQ(bench_->heartbeat().credit.at("io"), 2U);
}

TEST_F(WorkbenchTest, TellsNoCreditBetweenASessionAndItsResumed) {
  deliver({1, 2});
  complete(1, Outcome::ack());
  settle_last();
  protocol::Welcome welcome;
  welcome.known = true;  // also of a broker that restarted, when HELLO had to be said twice
  bench_->connected(welcome);
  link_.clear();
  turn();
  EXPECT_TRUE(bench_->heartbeat().credit.empty());
  EXPECT_FALSE(link_.has<protocol::Credit>());

  bench_->resumed({.keep = {LeaseId{2}}, .drop = {}, .delivered = {{"io", 1}}});
  turn();

  EXPECT_EQ(link_.only<protocol::Credit>().upto.at("io"), 2U);
}

TEST_F(WorkbenchTest, AnUnsettledOutcomeSurvivesOneDropAndEndsWithTheSecond) {
  deliver({1});
  complete(1, Outcome::ack());
  const std::uint64_t request = link_.last;
  protocol::Resumed resumed;
  resumed.drop = {LeaseId{1}};

  bench_->resumed(resumed);
  EXPECT_EQ(bench_->held(), 1U);
  bench_->resumed(resumed);

  EXPECT_EQ(bench_->held(), 0U);
  EXPECT_THAT(link_.forgotten, ElementsAre(request));
}

TEST_F(WorkbenchTest, SharesTheBrokersLimitAmongItsPools) {
  protocol::Welcome welcome;
  welcome.leases_max = 2;
  bench_->connected(welcome);
  bench_->resumed({});

  EXPECT_EQ(bench_->heartbeat().credit.at("io"), 1U);
  EXPECT_EQ(bench_->heartbeat().credit.at("cpu"), 1U);
}

TEST_F(WorkbenchTest, LeavesASecondDeliveryOfTheSameLeaseAlone) {
  deliver({1});
  deliver({1});

  EXPECT_THAT(started_on_io(), ElementsAre(1));
  EXPECT_EQ(bench_->held(), 1U);
}

}  // namespace
}  // namespace millrace::worker

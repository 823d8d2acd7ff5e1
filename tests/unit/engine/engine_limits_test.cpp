// What ENQUEUE refuses: each limit at its edge and one past it.

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::NewJob;

EngineOptions small_limits() {
  EngineOptions options;
  options.limits.payload_bytes_max = 100;
  options.limits.enqueue_jobs_max = 5;
  options.limits.enqueue_bytes_max = 200;
  options.limits.queue_jobs_max = 8;
  options.limits.lanes_max = 3;
  return options;
}

/// The error word for a job changed by `change`; empty when it is accepted.
std::string refusal(EngineHarness& broker, const std::function<void(NewJob&)>& change) {
  NewJob changed = job();
  change(changed);
  return broker.producer().enqueue_refusal({changed});
}

TEST(EngineLimits, APayloadMayBeAsLargeAsTheLimit) {
  EngineHarness broker(small_limits());

  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.payload = Payload::text(std::string(100, 'x')); }),
            "");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.payload = Payload::text(std::string(101, 'x')); }),
            "too_large");
}

TEST(EngineLimits, ARequestMayHoldAsManyJobsAsTheLimit) {
  EngineHarness broker(small_limits());
  TestPeer& producer = broker.producer();

  EXPECT_EQ(producer.enqueue_refusal(jobs(5)), "");
  EXPECT_EQ(producer.enqueue_refusal(jobs(6)), "too_large");
}

TEST(EngineLimits, ARequestMayHoldAsManyBytesAsTheLimit) {
  EngineHarness broker(small_limits());
  TestPeer& producer = broker.producer();
  const auto two = [](std::size_t first, std::size_t second) {
    return std::vector{job("echo", std::string(first, 'x')), job("echo", std::string(second, 'x'))};
  };

  EXPECT_EQ(producer.enqueue_refusal(two(100, 100)), "");
  auto three = two(100, 100);
  three.push_back(job("echo", "x"));
  EXPECT_EQ(producer.enqueue_refusal(three), "too_large");
}

TEST(EngineLimits, OneJobOfTheLargestPayloadIsAlwaysAllowed) {
  EngineOptions options = small_limits();
  options.limits.enqueue_bytes_max = 50;
  EngineHarness broker(options);

  EXPECT_EQ(broker.producer().enqueue_refusal({job("echo", std::string(100, 'x'))}), "");
}

TEST(EngineLimits, PrioritiesGoFromZeroToTheLeastUrgent) {
  EngineHarness broker;

  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.priority = 0; }), "");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.priority = 255; }), "");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.priority = -1; }), "bad_request");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.priority = 256; }), "bad_request");
}

TEST(EngineLimits, AttemptsGoFromOneToAMillionAndNoneIsTheKinds) {
  EngineHarness broker;

  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.max_attempts = 0; }), "");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.max_attempts = 1; }), "");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.max_attempts = kMaxAttemptsMax; }), "");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.max_attempts = -1; }), "bad_request");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.max_attempts = kMaxAttemptsMax + 1; }),
            "bad_request");
}

TEST(EngineLimits, DelaysAreBounded) {
  EngineHarness broker;

  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.delay = kDurationMax; }), "");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.delay = kDurationMax + Duration{1}; }),
            "bad_request");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.delay = Duration{-1}; }), "bad_request");
}

TEST(EngineLimits, ATimeToRunAtIsOfThisOrTheNextCentury) {
  EngineHarness broker;

  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.run_at = Time{20 * kDurationMax}; }), "");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.run_at = Time{20 * kDurationMax + Duration{1}}; }),
            "bad_request");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.run_at = Time{Duration{-1}}; }), "bad_request");
}

TEST(EngineLimits, ADelayAndATimeTogetherAreRefused) {
  EngineHarness broker;

  EXPECT_EQ(refusal(broker,
                    [](NewJob& j) {
                      j.delay = Duration{1};
                      j.run_at = Time{Duration{1}};
                    }),
            "bad_request");
}

TEST(EngineLimits, TimeoutsAreBounded) {
  EngineHarness broker;

  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.timeout = kDurationMax; }), "");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.timeout = kDurationMax + Duration{1}; }),
            "bad_request");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.timeout = Duration{-1}; }), "bad_request");
}

TEST(EngineLimits, AFirstBackOffIsAtMostFiveMinutes) {
  EngineHarness broker;

  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.backoff = kBackoffMax; }), "");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.backoff = kBackoffMax + Duration{1}; }),
            "bad_request");
  EXPECT_EQ(refusal(broker, [](NewJob& j) { j.backoff = Duration{-1}; }), "bad_request");
}

TEST(EngineLimits, NamesOfKindsAndQueuesAreShortAndPlain) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const std::string longest(64, 'a');

  for (const std::string& good : {longest, std::string("a.b_c-1")}) {
    EXPECT_EQ(producer.enqueue_refusal({job(good)}), "");
    EXPECT_EQ(producer.enqueue_refusal(jobs(1), {.queue = good}), "");
  }
  for (const std::string& bad : {std::string(), longest + "a", std::string("A"), std::string("a b"),
                                 std::string("a/b"), std::string("\xc3\xa9")}) {
    EXPECT_EQ(producer.enqueue_refusal({job(bad)}), "bad_request") << bad;
    EXPECT_EQ(producer.enqueue_refusal(jobs(1), {.queue = bad}), "bad_request") << bad;
  }
}

TEST(EngineLimits, ARequestIdIsNeeded) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  protocol::Enqueue message = producer.enqueue_message(jobs(1));

  message.request.counter = 0;
  EXPECT_EQ(producer.refusal(message), "bad_request");
  message.request = {0, 1};
  EXPECT_EQ(producer.refusal(message), "bad_request");
}

TEST(EngineLimits, AnEmptyRequestIsRefusedUnlessItSealsABatch) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const auto first = producer.enqueue(jobs(1), {.seal = false});

  EXPECT_EQ(producer.enqueue_refusal({}), "bad_request");
  EXPECT_EQ(producer.enqueue_refusal({}, {.batch = first.batch, .seal = false}), "bad_request");
  EXPECT_EQ(producer.enqueue_refusal({}, {.batch = first.batch, .seal = true}), "");
}

TEST(EngineLimits, AQueueHoldsAsManyOpenJobsAsTheLimit) {
  EngineHarness broker(small_limits());
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(5));

  EXPECT_EQ(producer.enqueue_refusal(jobs(4)), "queue_full");
  EXPECT_EQ(producer.enqueue_refusal(jobs(3)), "");
  EXPECT_EQ(producer.enqueue_refusal(jobs(1)), "queue_full");
  EXPECT_EQ(producer.enqueue_refusal(jobs(1), {.queue = "other"}), "");
}

TEST(EngineLimits, AFullQueueTakesJobsAgainWhenOneHasEnded) {
  EngineHarness broker(small_limits());
  TestPeer& producer = broker.producer();
  const auto first = producer.enqueue(jobs(5));
  producer.enqueue(jobs(3));

  producer.cancel({first.first});

  EXPECT_EQ(producer.enqueue_refusal(jobs(1)), "");
}

TEST(EngineLimits, PairsOfQueueAndKindAreBounded) {
  EngineHarness broker(small_limits());
  TestPeer& producer = broker.producer();
  producer.enqueue({job("a"), job("b")});

  EXPECT_EQ(producer.enqueue_refusal({job("c"), job("d")}), "too_large");
  EXPECT_EQ(producer.enqueue_refusal({job("a"), job("c"), job("c")}), "");
  EXPECT_EQ(producer.enqueue_refusal({job("d")}), "too_large");
  EXPECT_EQ(producer.enqueue_refusal({job("b")}), "");
}

TEST(EngineLimits, ARefusedRequestLeavesNothingBehind) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  std::vector<NewJob> batch = jobs(3);
  batch.back().priority = 300;

  EXPECT_EQ(producer.enqueue_refusal(batch), "bad_request");

  EXPECT_TRUE(broker.disk().jobs.empty());
  EXPECT_EQ(producer.enqueue(jobs(1)).first, JobId{1});
}

TEST(EngineLimits, BelowTheFreeSpaceNewJobsAreRefusedAndOldOnesEnd) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue(jobs(2));
  const auto taken = worker.take_jobs();
  ASSERT_EQ(taken.size(), 2U);
  worker.ack(taken[0]);

  broker.set_space(Space::low);

  EXPECT_EQ(producer.enqueue_refusal(jobs(1)), "storage_full");
  EXPECT_EQ(producer.refusal(producer.replay_message({taken[0].job})), "storage_full");
  EXPECT_EQ(worker.ack(taken[1]), protocol::ItemStatus::ok);
  broker.set_space(Space::plenty);
  EXPECT_EQ(producer.enqueue_refusal(jobs(1)), "");
}

TEST(EngineLimits, WhenSpaceIsCriticalNothingMoreIsHandedOut) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  TestPeer& producer = broker.producer();
  broker.set_space(Space::low);
  producer.refusal(producer.enqueue_message(jobs(1)));
  broker.set_space(Space::plenty);
  producer.pause();
  producer.enqueue(jobs(1));
  broker.set_space(Space::critical);

  producer.unpause();
  EXPECT_TRUE(worker.take_jobs().empty());

  broker.set_space(Space::low);
  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

}  // namespace
}  // namespace millrace::broker

// The wall clock is set while the broker runs.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

constexpr Duration kDay{24L * 3600 * 1000};

TEST(EngineClock, SetOnByDaysItForgetsNoRequestAndDeletesNoJob) {
  EngineOptions options;
  options.retention = kDay;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(job());
  worker.ack(worker.take_job());

  broker.set_wall_clock(3 * kDay);
  broker.advance(Duration{180'000});

  EXPECT_EQ(broker.state(id), JobState::done);
  EXPECT_EQ(broker.disk().requests.size(), 1U);
}

TEST(EngineClock, RetentionGoesOnByTheTimeThatPasses) {
  EngineOptions options;
  options.retention = Duration{60'000};
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue_one(job());
  worker.ack(worker.take_job());
  broker.set_wall_clock(3 * kDay);

  broker.advance(Duration{120'000});

  // Stamped by the new clock or by the old one: a minute later it is gone.
  EXPECT_TRUE(broker.disk().jobs.empty());
}

}  // namespace
}  // namespace millrace::broker

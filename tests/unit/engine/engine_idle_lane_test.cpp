// A lane of which nothing is in memory.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

TEST(EngineIdleLane, AJobThatComesAfterAllOthersWereCancelledIsGivenOut) {
  EngineHarness broker;
  const JobId before = broker.producer().enqueue_one(job());
  broker.restart();  // what is ready is only in the store now
  TestPeer& producer = broker.producer();
  producer.cancel({before});
  TestPeer& worker = broker.worker();

  const JobId after = producer.enqueue_one(job());
  broker.run();

  EXPECT_EQ(worker.take_job().job, after);
}

}  // namespace
}  // namespace millrace::broker

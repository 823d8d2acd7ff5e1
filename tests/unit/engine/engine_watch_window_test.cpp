// Streams whose reader is slow, comes back, or has lost something.

#include <gtest/gtest.h>

#include "tests/unit/engine/watch_stream.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::Enqueued;
using protocol::Results;
using protocol::Watch;

// ---- windows
// -------------------------------------------------------------------------------------

EngineOptions small_windows() {
  EngineOptions options;
  options.limits.results_rows_max = 3;
  return options;
}

TEST(EngineWatchWindow, ASlowWatcherGetsNoMoreThanItAskedFor) {
  Watched it(100, small_windows());
  Stream stream(it.producer, it.batch);
  stream.watch();
  for (const Delivery& delivery : it.taken) it.worker.ack(delivery);
  stream.take();
  EXPECT_LT(stream.rows.size(), 100U);

  while (!stream.end) {
    const std::size_t before = stream.rows.size();
    stream.watch();
    it.broker.run();
    stream.take();
    ASSERT_TRUE(stream.rows.size() > before || stream.end);
  }

  ASSERT_EQ(stream.rows.size(), 100U);
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(stream.rows[i].job, JobId{i + 1});
}

TEST(EngineWatchWindow, EveryWatchIsAnsweredAlsoWithoutNews) {
  Watched it(1);
  Stream stream(it.producer, it.batch);

  for (int i = 0; i < 3; ++i) {
    const auto correlation = it.producer.send(Watch{it.batch, stream.cursor});
    it.broker.run();
    const auto answer = it.producer.answer(correlation);
    ASSERT_TRUE(answer.has_value());
    stream.cursor = std::get<Results>(*answer).cursor;
  }
}

TEST(EngineWatchWindow, AWatchFromBehindBeginsAgain) {
  Watched it(3);
  Stream first(it.producer, it.batch);
  first.watch();
  for (const Delivery& delivery : {it.taken[0], it.taken[1]}) it.worker.ack(delivery);
  first.take();
  first.watch();
  it.broker.run();
  first.take();

  Stream again(it.producer, it.batch);
  again.watch();
  it.broker.run();
  again.take();
  it.worker.ack(it.taken[2]);
  again.take();

  EXPECT_EQ(again.ids(), ids({1, 2, 3}));
  EXPECT_TRUE(again.end);
}

TEST(EngineWatchWindow, ManyRowsWithoutAWatcherInTimeAreReadFromDisk) {
  EngineOptions options;
  options.limits.enqueue_jobs_max = 20'000;
  options.limits.queue_jobs_max = 100'000;
  options.limits.results_rows_max = 10;
  EngineHarness broker(options);
  broker.keep_writes(false);
  TestPeer& producer = broker.producer();
  const Enqueued all = producer.enqueue(jobs(9000), {.seal = false});
  Stream stream(producer, all.batch);
  stream.watch();
  broker.run();
  std::vector<JobId> victims;
  for (std::uint64_t id = 1; id <= 9000; ++id) victims.emplace_back(id);
  producer.cancel(victims);
  producer.enqueue({}, {.batch = all.batch});

  while (!stream.end) {
    const FinishSeq before = stream.cursor;
    stream.watch();
    broker.run();
    stream.take();
    ASSERT_TRUE(stream.cursor > before || stream.end);
  }

  ASSERT_EQ(stream.rows.size(), 9000U);
  EXPECT_EQ(stream.ids(), victims);
}

// ---- lost messages
// -------------------------------------------------------------------------------

TEST(EngineWatchLost, AfterAReconnectTheStreamGoesOnFromTheCursor) {
  Watched it(4);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.worker.ack(it.taken[0]);
  stream.take();
  it.producer.lossy = true;
  it.worker.ack(it.taken[1]);
  it.producer.lossy = false;
  it.worker.ack(it.taken[2]);
  it.producer.inbox.clear();

  it.producer.hello();
  stream.watch();
  it.broker.run();
  it.worker.ack(it.taken[3]);
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1, 2, 3, 4}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatchLost, AfterResultsThatCouldNotBeSentThePeerBeginsAgain) {
  Watched it(3);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.worker.ack(it.taken[0]);
  stream.take();
  it.producer.deaf = true;
  it.worker.ack(it.taken[1]);
  it.producer.deaf = false;

  EXPECT_EQ(it.producer.refusal(Watch{it.batch, stream.cursor}), "no_session");
  it.producer.hello_again();
  stream.watch();
  it.broker.run();
  it.worker.ack(it.taken[2]);
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1, 2, 3}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatchLost, ARestartLosesNoRow) {
  Watched it(3);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.worker.ack(it.taken[0]);
  stream.take();
  it.worker.ack(it.taken[1]);
  it.producer.inbox.clear();

  it.broker.restart();
  it.producer.hello();
  it.worker.hello();
  it.worker.offer({});
  stream.watch();
  it.broker.run();
  it.worker.ack(it.taken[2]);
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1, 2, 3}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatchLost, NoRowIsToldBeforeItsCommit) {
  Watched it(1);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.broker.run();
  stream.take();
  it.broker.hold_commits(true);

  it.worker.send(protocol::Ack{{{it.taken[0].lease, it.taken[0].job, {}, {}, Duration{-1}, {}}}});
  it.broker.run();
  EXPECT_FALSE(stream.take());

  it.broker.hold_commits(false);
  it.broker.run();
  EXPECT_TRUE(stream.take());
}

}  // namespace
}  // namespace millrace::broker

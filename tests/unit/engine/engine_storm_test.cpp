// Everything at once, with crashes: whatever was acknowledged ends exactly once.

#include <gtest/gtest.h>

#include <list>
#include <set>

#include "tests/unit/engine/storm_peers.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;

/// What may go wrong besides the broker itself.
struct Weather {
  bool workers_fail = true;
};

class Storm {
 public:
  Storm(std::uint64_t seed, Weather weather)
      : random_(seed), weather_(weather), broker_(options()) {
    broker_.keep_writes(false);
    producers_.emplace_back(broker_, random_, "a");
    producers_.emplace_back(broker_, random_, "b");
    for (int i = 0; i < 3; ++i) workers_.emplace_back(broker_, random_);
    control_ = &broker_.producer();
    connect_all();
  }

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      step();
      receive_all();
      if (i % 100 == 0) broker_.audit();
    }
    calm_down();
    check();
  }

 private:
  static EngineOptions options() {
    EngineOptions options;
    options.limits.window_jobs_max = 8;
    options.limits.results_rows_max = 5;
    return options;
  }

  void step() {
    const std::uint64_t what = random_.below(1000);
    if (what < 250) random_.pick(producers_).step();
    if (what >= 250 && what < 700) random_.pick(workers_).step();
    if (what >= 700 && what < 780) broker_.advance(Duration{random_.below(400)});
    if (what >= 780 && what < 800) broker_.set_commit_turns(random_.below(4));
    if (what >= 800 && what < 815) crash();
    if (what >= 815 && what < 835) connect_all();
    if (what >= 835 && what < 840) control_->send(protocol::Pause{"a"});
    if (what >= 840 && what < 850) control_->send(protocol::Unpause{"a"});
    if (what >= 850 && what < 860) random_.pick(producers_).send_again();
    if (weather_.workers_fail) worker_trouble(what);
    broker_.turn();
  }

  void worker_trouble(std::uint64_t what) {
    if (what >= 860 && what < 865) random_.pick(workers_).die();
    if (what >= 865 && what < 870) random_.pick(workers_).freeze();
    if (what >= 870 && what < 875) broker_.advance(Duration{4000});
  }

  void crash() {
    broker_.crash(random_.below(3));
    broker_.restart();
    control_->hello();
    if (!weather_.workers_fail || random_.chance(80)) connect_all();
  }

  void connect_all() {
    for (StormProducer& producer : producers_) producer.reconnect();
    for (StormWorker& worker : workers_)
      if (!worker.frozen() || random_.chance(50)) worker.reconnect();
  }

  void receive_all() {
    for (StormProducer& producer : producers_) producer.receive();
    for (StormWorker& worker : workers_) worker.receive();
    control_->inbox.clear();
    for (StormWorker& worker : workers_)
      for (const Delivery& delivery : worker.take_new()) note(worker, delivery);
  }

  void note(const StormWorker& owner, const Delivery& delivery) {
    if (weather_.workers_fail) return;
    // Without lost workers nothing that somebody still holds may be given to another.
    for (const StormWorker& worker : workers_) {
      if (&worker == &owner) continue;
      EXPECT_FALSE(worker.is_busy_with(delivery.job)) << "job " << delivery.job.value;
    }
  }

  /// No more faults: all requests are answered, all jobs run, all streams end.
  void calm_down() {
    if (::testing::Test::HasFailure()) return;
    broker_.set_commit_turns(0);
    control_->unpause("a");
    for (int round = 0; round < 2000 && !::testing::Test::HasFailure(); ++round) {
      for (StormWorker& worker : workers_) {
        worker.reconnect();
        worker.finish_all();
        worker.step();
      }
      for (StormProducer& producer : producers_) {
        producer.reconnect();
        if (round % 5 == 4) producer.send_again();
      }
      broker_.advance(Duration{50});
      receive_all();
      if (is_calm()) return;
    }
    FAIL() << "the storm does not end";
  }

  bool is_calm() {
    for (const StormProducer& producer : producers_)
      if (!producer.answered() || !producer.streams_ended()) return false;
    for (const auto& [id, job] : broker_.disk().jobs)
      if (!is_final(job.record.status.state)) return false;
    for (const StormWorker& worker : workers_)
      if (!worker.idle()) return false;
    return true;
  }

  void check() {
    if (::testing::Test::HasFailure()) return;
    broker_.audit();
    std::set<JobId> acknowledged;
    for (const StormProducer& producer : producers_) {
      for (JobId id : producer.jobs())
        EXPECT_TRUE(acknowledged.insert(id).second) << "job " << id.value << " was told twice";
      for (const auto& [id, batch] : producer.batches()) check_stream(id, batch);
    }
    EXPECT_EQ(acknowledged.size(), broker_.disk().jobs.size());
    for (JobId id : acknowledged) EXPECT_TRUE(is_final(broker_.state(id))) << "job " << id.value;
    EXPECT_EQ(broker_.engine().jobs_in_memory(), 0U);
  }

  void check_stream(BatchId id, const StormProducer::Batch& batch) {
    EXPECT_EQ(batch.rows.size(), batch.total) << "batch " << id.value;
    for (const auto& [job, times] : batch.rows) {
      EXPECT_EQ(times, 1) << "job " << job.value;
      EXPECT_EQ(broker_.disk().jobs.at(job).record.spec.batch, id);
    }
  }

  TestRandom random_;
  Weather weather_;
  EngineHarness broker_;
  std::vector<StormProducer> producers_;
  std::vector<StormWorker> workers_;
  TestPeer* control_ = nullptr;
};

TEST(EngineStorm, WhateverWasAcknowledgedEndsExactlyOnce) {
  for (const std::uint64_t seed : test_seeds(1)) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Storm(seed, {.workers_fail = true}).run(2000);
  }
}

TEST(EngineStorm, RestartsOfTheBrokerAloneRunNothingTwice) {
  for (const std::uint64_t seed : test_seeds(1)) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Storm(seed, {.workers_fail = false}).run(2000);
  }
}

}  // namespace
}  // namespace millrace::broker

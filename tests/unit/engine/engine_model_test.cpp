// Random commands to an engine whose window is tiny, compared with a model that keeps everything in
// one map: the order of deliveries must be the same, nothing may be lost, counters equal the rows.

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/support/engine_harness.h"
#include "tests/support/test_random.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::ItemStatus;

constexpr std::size_t kWindow = 8;
constexpr std::uint64_t kHeldMax = 6;

/// One queue as a beginner would write it.
class NaiveQueue {
 public:
  struct Job {
    std::string kind;
    int priority = kPriorityDefault;
    JobState state = JobState::ready;
    Time run_at{};
    int attempts = 0;  ///< since the last redrive
  };

  void add(JobId id, Job job) { jobs_.emplace(id, std::move(job)); }
  Job& at(JobId id) { return jobs_.at(id); }
  [[nodiscard]] const std::map<JobId, Job>& jobs() const { return jobs_; }

  void let_time_pass(Time now) {
    for (auto& [id, job] : jobs_)
      if (job.state == JobState::scheduled && job.run_at <= now) job.state = JobState::ready;
  }
  /// The most urgent ready job of these kinds becomes leased.
  std::optional<JobId> lease(const std::set<std::string>& kinds) {
    std::optional<std::pair<int, JobId>> best;
    for (const auto& [id, job] : jobs_) {
      if (job.state != JobState::ready || !kinds.contains(job.kind)) continue;
      const std::pair key(job.priority, id);
      if (!best || key < *best) best = key;
    }
    if (!best) return std::nullopt;
    jobs_.at(best->second).state = JobState::leased;
    return best->second;
  }

 private:
  std::map<JobId, Job> jobs_;
};

class ModelRun {
 public:
  explicit ModelRun(std::uint64_t seed) : random_(seed), broker_(options()) {
    broker_.keep_writes(false);
    broker_.set_commit_turns(random_.below(4));
    worker_ = &broker_.worker({.kinds = {{"a", "io"}, {"b", "io"}, {"c", "io"}}, .credit = 0});
    // Somebody has the kind that nobody has credit for, so that it waits.
    other_ = &broker_.worker({.kinds = {{"rare", "io"}}, .credit = 0});
  }

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) {
      step();
      compare_deliveries();
      if (i % 50 == 0) compare_states();
    }
    finish();
  }

 private:
  static EngineOptions options() {
    EngineOptions options;
    options.limits.window_jobs_max = kWindow;
    return options;
  }

  void step() {
    const std::uint64_t what = random_.below(100);
    if (what < 20) return enqueue();
    if (what < 45) return give_credit();
    if (what < 65) return end_one();
    if (what < 75) return advance(Duration{random_.below(1500)});
    if (what < 83) return cancel();
    if (what < 90) return redrive();
    if (what < 95) return pause();
    restart();
  }

  void enqueue() {
    static const std::vector<std::string> kinds{"a", "b", "c", "rare"};
    std::vector<protocol::NewJob> batch;
    const std::size_t count = 1 + random_.below(30);
    for (std::size_t i = 0; i < count; ++i) {
      batch.push_back(job(random_.pick(kinds)));
      batch.back().priority = static_cast<int>(random_.below(4));
      if (random_.chance(25)) batch.back().delay = Duration{1 + random_.below(3000)};
    }
    const auto answer = producer_->enqueue(batch);
    for (std::size_t i = 0; i < count; ++i) {
      const bool later = batch[i].delay.count() != 0;
      model_.add(JobId{answer.first.value + i},
                 {batch[i].kind, batch[i].priority, later ? JobState::scheduled : JobState::ready,
                  broker_.now().utc + batch[i].delay, 0});
    }
  }

  void give_credit() {
    if (held_.size() >= kHeldMax) return;
    const std::uint64_t more = 1 + random_.below(kHeldMax - held_.size());
    credit_ += more;
    worker_->credit(credit_);
  }

  void end_one() {
    if (held_.empty()) return;
    const std::size_t at = random_.below(held_.size());
    const Delivery delivery = held_[at];
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(at));
    NaiveQueue::Job& known = model_.at(delivery.job);
    const bool cancelled = known.state == JobState::cancelled;
    const auto expected = cancelled ? ItemStatus::cancelled : ItemStatus::ok;
    const std::uint64_t how = random_.below(4);
    if (!cancelled) {
      const Duration delay{random_.below(2) == 0 ? 0 : 500};
      if (how == 0) known.state = JobState::done;
      if (how == 1) known.state = JobState::dead;
      if (how == 2) known.state = JobState::ready;
      if (how == 3) {
        const bool last = ++known.attempts == kMaxAttemptsDefault;
        known.state = last ? JobState::dead : JobState::scheduled;
        known.run_at = broker_.now().utc + delay;
      }
      EXPECT_EQ(settle(delivery, how, delay), expected);
    } else {
      EXPECT_EQ(settle(delivery, how, Duration{0}), expected);
    }
  }

  ItemStatus settle(const Delivery& delivery, std::uint64_t how, Duration delay) {
    if (how == 0) return worker_->ack(delivery);
    if (how == 1) return worker_->reject(delivery);
    if (how == 2) return worker_->release(delivery);
    return worker_->nack(delivery, "again", delay);
  }

  /// From one due time to the next, so that the model sees each job when the engine does.
  void advance(Duration by) {
    const Time end = broker_.now().utc + by;
    while (broker_.now().utc < end && !::testing::Test::HasFailure()) {
      Time next = end;
      for (const auto& [id, known] : model_.jobs())
        if (known.state == JobState::scheduled) next = std::min(next, known.run_at);
      broker_.advance(std::max(Duration{1}, next - broker_.now().utc));
      compare_deliveries();
    }
  }

  std::vector<JobId> some_jobs() {
    std::vector<JobId> ids;
    if (model_.jobs().empty()) return {JobId{999'999}};
    for (std::size_t i = 0; i < 3; ++i) ids.emplace_back(1 + random_.below(model_.jobs().size()));
    return ids;
  }

  void cancel() {
    const auto ids = some_jobs();
    const auto statuses = producer_->cancel(ids);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!model_.jobs().contains(ids[i])) {
        EXPECT_EQ(statuses[i], ItemStatus::not_found);
        continue;
      }
      NaiveQueue::Job& known = model_.at(ids[i]);
      EXPECT_EQ(statuses[i], is_final(known.state) ? ItemStatus::refused : ItemStatus::ok)
          << "job " << ids[i].value;
      if (!is_final(known.state)) known.state = JobState::cancelled;
    }
  }

  void redrive() {
    const auto ids = some_jobs();
    const auto statuses = producer_->redrive(ids);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!model_.jobs().contains(ids[i])) {
        EXPECT_EQ(statuses[i], ItemStatus::not_found);
        continue;
      }
      NaiveQueue::Job& known = model_.at(ids[i]);
      const bool can = known.state == JobState::dead || known.state == JobState::cancelled;
      EXPECT_EQ(statuses[i], can ? ItemStatus::ok : ItemStatus::refused) << "job " << ids[i].value;
      if (!can) continue;
      known.state = JobState::ready;
      known.attempts = 0;
    }
    // A lease from before a cancel is of no use any more.
    std::erase_if(held_, [&](const Delivery& held) {
      return model_.at(held.job).state != JobState::leased &&
             model_.at(held.job).state != JobState::cancelled;
    });
  }

  void pause() {
    paused_ = !paused_;
    if (paused_) {
      producer_->pause();
    } else {
      producer_->unpause();
    }
  }

  void restart() {
    broker_.restart();
    producer_->hello();
    std::erase_if(
        held_, [&](const Delivery& held) { return model_.at(held.job).state != JobState::leased; });
    for (TestPeer* peer : {worker_, other_}) peer->hello();
    worker_->offer({.kinds = {{"a", "io"}, {"b", "io"}, {"c", "io"}}, .credit = 0});
    other_->offer({.kinds = {{"rare", "io"}}, .credit = 0});
    std::vector<protocol::HeldLease> leases;
    for (const Delivery& held : held_) leases.push_back({held.lease, held.job, false, {}});
    const auto resumed = worker_->resume(leases);
    EXPECT_EQ(resumed.keep.size(), held_.size());
    EXPECT_TRUE(resumed.drop.empty());
    other_->resume();
    credit_ = resumed.delivered.at("io");
    delivered_ = credit_;
  }

  /// What the engine delivered since the last step must be what the model would have chosen.
  void compare_deliveries() {
    model_.let_time_pass(broker_.now().utc);
    EXPECT_TRUE(other_->take_jobs().empty());
    for (const Delivery& delivery : worker_->take_jobs()) {
      ++delivered_;
      EXPECT_EQ(delivery.number, delivered_);
      ASSERT_LE(delivery.number, credit_);
      ASSERT_FALSE(paused_);
      const auto expected = model_.lease({"a", "b", "c"});
      ASSERT_TRUE(expected.has_value()) << "job " << delivery.job.value << " was not ready";
      ASSERT_EQ(delivery.job, *expected);
      held_.push_back(delivery);
    }
    if (paused_ || delivered_ == credit_) return;
    EXPECT_FALSE(model_.lease({"a", "b", "c"}).has_value()) << "a ready job was not delivered";
  }

  void compare_states() {
    broker_.audit();
    EXPECT_LE(broker_.engine().jobs_in_memory(), 5 * kWindow + held_.size());
    for (const auto& [id, known] : model_.jobs())
      ASSERT_EQ(broker_.state(id), known.state) << "job " << id.value;
  }

  void finish() {
    if (paused_) pause();
    if (::testing::Test::HasFailure()) return;
    compare_deliveries();
    end_rare_jobs();
    for (int i = 0; i < 10'000 && !::testing::Test::HasFailure(); ++i) {
      for (const Delivery& held : std::exchange(held_, {})) {
        if (model_.at(held.job).state == JobState::leased)
          model_.at(held.job).state = JobState::done;
        worker_->ack(held);
      }
      if (producer_->queue_info().open_jobs() == 0) break;
      worker_->credit(++credit_);
      compare_deliveries();
      if (held_.empty()) advance(Duration{500});
    }
    for (const auto& [id, known] : model_.jobs())
      EXPECT_TRUE(is_final(broker_.state(id))) << "job " << id.value;
    EXPECT_EQ(broker_.disk().jobs.size(), model_.jobs().size());
    broker_.audit();
  }

  /// Those nobody had credit for, after all that could still be scheduled is due.
  void end_rare_jobs() {
    advance(Duration{3000});
    other_->credit(1'000'000);
    for (const Delivery& delivery : other_->take_jobs()) {
      model_.at(delivery.job).state = JobState::done;
      other_->ack(delivery);
    }
  }

  TestRandom random_;
  EngineHarness broker_;
  TestPeer* producer_ = &broker_.producer();
  TestPeer* worker_ = nullptr;
  TestPeer* other_ = nullptr;
  NaiveQueue model_;
  std::vector<Delivery> held_;
  std::uint64_t credit_ = 0;
  std::uint64_t delivered_ = 0;
  bool paused_ = false;
};

TEST(EngineModel, ATinyWindowDeliversInTheOrderOfOneThatHoldsEverything) {
  for (const std::uint64_t seed : test_seeds(1)) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    ModelRun(seed).run(250);
  }
}

}  // namespace
}  // namespace millrace::broker

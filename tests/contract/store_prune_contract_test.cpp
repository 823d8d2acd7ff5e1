// Retention.

#include <gmock/gmock.h>

#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const Time kCutoff = at(kEnqueuedAt + 5000);

template <class Backend>
class StorePrune : public StoreContract<Backend> {
 protected:
  Pruned prune(std::uint64_t from = 0, std::size_t jobs_max = 10, Time requests_before = {}) {
    Prune prune = prune_by_age(kCutoff, jobs_max);
    prune.requests_before = requests_before;
    prune.from = JobId{from};
    return this->template load<Pruned>(prune);
  }
  std::vector<std::uint64_t> left() { return ids(this->query().page({.filter = {}}).jobs); }
  bool has_batch(std::uint64_t id) {
    return this->query().item({.job = {}, .batch = BatchId{id}}).has_value();
  }
};
TYPED_TEST_SUITE(StorePrune, Backends, BackendNames);

JobInsert ended_job(std::uint64_t id, std::int64_t finished_at, JobState state = JobState::done) {
  JobInsert job = ready_job(id);
  job.status = finish(job, state, id, finished_at).status;
  return job;
}

TYPED_TEST(StorePrune, DeletesWhatEndedBeforeTheLimitAndNothingElse) {
  WriteBatch batch;
  batch.inserts = {ended_job(1, 4999),
                   ended_job(2, 5000),
                   ready_job(3),
                   leased_job(4, 1),
                   scheduled_job(5, 9),
                   ended_job(6, 10, JobState::dead),
                   ended_job(7, 10, JobState::cancelled)};
  batch.attempts = {{JobId{1}, 1, WorkerId{1}, at(1), at(2), "nack", ""},
                    {JobId{3}, 1, WorkerId{1}, at(1), at(2), "nack", ""}};
  count(batch);
  this->store().commit(batch);

  const Pruned pruned = this->prune();

  EXPECT_EQ(pruned.jobs, 3U);
  EXPECT_FALSE(pruned.next);
  ASSERT_EQ(pruned.deltas.size(), 1U);
  EXPECT_EQ(pruned.deltas[0].id, kLane);
  EXPECT_THAT(pruned.deltas[0].deltas, ElementsAre(0, 0, 0, 0, -1, -1, -1, 0));
  EXPECT_THAT(this->left(), ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(this->query().item({.job = JobId{3}, .batch = {}})->attempts.size(), 1U);
  const Snapshot snapshot = this->restart();
  EXPECT_THAT(snapshot.lanes[0].counts, ElementsAre(0, 1, 1, 1, 1, 0, 0, 0));
  put(this->store(), {ready_job(1)});  // its id is free, so are its attempts
  EXPECT_THAT(this->query().item({.job = JobId{1}, .batch = {}})->attempts, IsEmpty());
}

TYPED_TEST(StorePrune, GoesInStepsAndKeepsItsPlace) {
  std::vector<JobInsert> jobs;
  for (std::uint64_t id = 1; id <= 25; ++id) jobs.push_back(ended_job(id, 10));
  put(this->store(), jobs);

  const Pruned first = this->prune(0, 10);
  const Pruned second = this->prune(first.next.value, 10);
  const Pruned third = this->prune(second.next.value, 10);

  EXPECT_EQ(first.jobs, 10U);
  EXPECT_EQ(first.next, JobId{11});
  EXPECT_EQ(second.jobs, 10U);
  EXPECT_EQ(third.jobs, 5U);
  EXPECT_FALSE(third.next);
  EXPECT_THAT(this->left(), IsEmpty());
}

TYPED_TEST(StorePrune, LooksAtNoMoreThanTenTimesAsManyRows) {
  std::vector<JobInsert> jobs;
  for (std::uint64_t id = 1; id <= 30; ++id) jobs.push_back(ready_job(id));
  jobs.push_back(ended_job(31, 10));
  put(this->store(), jobs);

  const Pruned first = this->prune(0, 2);
  const Pruned second = this->prune(first.next.value, 2);

  EXPECT_EQ(first.jobs, 0U);
  EXPECT_EQ(first.next, JobId{21});
  EXPECT_EQ(second.jobs, 1U);
  EXPECT_FALSE(second.next);
}

TYPED_TEST(StorePrune, StopsWhereTheJobsAreYoung) {
  std::vector<JobInsert> jobs = {ended_job(1, 10)};
  for (std::uint64_t id = 2; id <= 30; ++id) {
    jobs.push_back(ended_job(id, 9000));
    jobs.back().spec.enqueued_at = kCutoff;
  }
  put(this->store(), jobs);

  const Pruned pruned = this->prune(0, 5);

  EXPECT_EQ(pruned.jobs, 1U);
  EXPECT_FALSE(pruned.next);
}

TYPED_TEST(StorePrune, AWrongClockDoesNotHoldItUp) {
  auto wrong = ended_job(1, 9000);
  wrong.spec.enqueued_at = at(kEnqueuedAt * 2);
  put(this->store(), {wrong, ended_job(2, 10)});

  EXPECT_EQ(this->prune(0, 10).jobs, 1U);
}

TYPED_TEST(StorePrune, ABatchGoesWithItsLastJob) {
  auto second = ended_job(2, 9000);
  auto own = ended_job(3, 10);
  own.spec.batch = BatchId{3};
  auto unsealed = ended_job(4, 10);
  unsealed.spec.batch = BatchId{4};
  WriteBatch batch;
  batch.inserts = {ended_job(1, 10), second, own, unsealed};
  batch.batches = {{.id = BatchId{1}, .sealed = true, .owner = {}, .created_at = at(1)},
                   {.id = BatchId{3}, .sealed = true, .owner = {}, .created_at = at(1)},
                   {.id = BatchId{4}, .sealed = false, .owner = "producer", .created_at = at(1)}};
  count(batch);
  this->store().commit(batch);

  this->prune();

  EXPECT_TRUE(this->has_batch(1));
  EXPECT_FALSE(this->has_batch(3));
  EXPECT_TRUE(this->has_batch(4));  // more jobs may come
}

TYPED_TEST(StorePrune, WorkersStayWhileAJobNamesThem) {
  auto job = ready_job(1);
  job.status.worker = WorkerId{1};
  job.status.attempts = 1;
  WriteBatch batch;
  batch.inserts = {job};
  batch.attempts = {{JobId{1}, 1, WorkerId{2}, at(1), at(2), "nack", ""}};
  batch.workers = {{WorkerId{1}, "a", "named by the job", "h", 1, at(1), at(2)},
                   {WorkerId{2}, "b", "named by a run", "h", 1, at(1), at(2)},
                   {WorkerId{3}, "c", "named by nobody", "h", 1, at(1), at(2)}};
  count(batch);
  this->store().commit(batch);

  this->prune();

  const auto item = this->query().item({.job = JobId{1}, .batch = {}});
  EXPECT_EQ(item->job[0].worker, "named by the job");
  EXPECT_EQ(item->attempts[0].worker, "named by a run");
}

TYPED_TEST(StorePrune, OldRequestsAreForgotten) {
  WriteBatch batch;
  for (std::uint64_t prefix : {1ULL, 2ULL, ~0ULL})
    for (std::uint64_t counter = 1; counter <= 30; ++counter)
      batch.requests.push_back(
          {.id = {prefix, counter}, .replay_of = {}, .at = at(static_cast<std::int64_t>(counter))});
  this->store().commit(batch);

  for (int step = 0; step < 20; ++step) this->prune(0, 1, at(20));

  for (std::uint64_t prefix : {1ULL, 2ULL, ~0ULL}) {
    EXPECT_FALSE(this->template load<LoadedRequest>(LoadRequest{{prefix, 19}}).row);
    EXPECT_TRUE(this->template load<LoadedRequest>(LoadRequest{{prefix, 20}}).row);
  }
}

}  // namespace
}  // namespace millrace::broker::testing

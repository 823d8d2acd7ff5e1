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

/// A step that takes nothing for its age.
Prune prune_excess(std::uint64_t jobs, std::uint64_t bytes, JobState state = JobState::done) {
  Prune prune{.from = {}, .jobs_max = 10, .bytes_max = std::size_t{1} << 20};
  LanePrune lane{.lane = kLane};
  lane.jobs.at(static_cast<std::size_t>(state)) = jobs;
  lane.bytes.at(static_cast<std::size_t>(state)) = bytes;
  prune.lanes = {lane};
  return prune;
}

/// Ended jobs first … last with 100 bytes each, long after kCutoff.
std::vector<JobInsert> heavy_jobs(std::uint64_t first, std::uint64_t last) {
  std::vector<JobInsert> jobs;
  for (std::uint64_t id = first; id <= last; ++id) {
    jobs.push_back(ended_job(id, 90'000));
    jobs.back().payload = Payload::text(std::string(100, 'x'));
  }
  return jobs;
}

TYPED_TEST(StorePrune, LanesAndStatesHaveAgesOfTheirOwn) {
  auto mail = ended_job(4, 10);
  mail.spec.lane = LaneId{2};
  put(this->store(), {ended_job(1, 10), ended_job(2, 10, JobState::dead),
                      ended_job(3, 10, JobState::expired), mail, ended_job(5, 3000)});
  Prune prune{.finished_before = kCutoff, .from = {}, .jobs_max = 10, .bytes_max = 1000};
  LanePrune lane{.lane = kLane};
  lane.finished_before.at(static_cast<std::size_t>(JobState::done)) = at(kEnqueuedAt + 2000);
  lane.finished_before.at(static_cast<std::size_t>(JobState::expired)) = kCutoff;
  prune.lanes = {lane};

  const auto pruned = this->template load<Pruned>(prune);

  EXPECT_EQ(pruned.jobs, 2U);
  EXPECT_THAT(this->left(), ElementsAre(2, 4, 5));
}

TYPED_TEST(StorePrune, SoManyJobsTooManyGoFromTheLowestId) {
  auto jobs = heavy_jobs(1, 6);
  jobs[1].status = finish(jobs[1], JobState::dead, 2).status;
  jobs[3] = ready_job(4);
  put(this->store(), jobs);

  const auto pruned = this->template load<Pruned>(prune_excess(3, 0));

  EXPECT_EQ(pruned.jobs, 3U);
  EXPECT_THAT(this->left(), ElementsAre(2, 4, 6));
  ASSERT_EQ(pruned.deltas.size(), 1U);
  EXPECT_THAT(pruned.deltas[0].deltas, ElementsAre(0, 0, 0, 0, -3, 0, 0, 0));
  EXPECT_THAT(pruned.deltas[0].bytes, ElementsAre(0, 0, 0, 0, -300, 0, 0, 0));
}

TYPED_TEST(StorePrune, AsManyGoAsItTakesToFreeTheBytes) {
  put(this->store(), heavy_jobs(1, 6));

  const auto pruned = this->template load<Pruned>(prune_excess(0, 201));

  EXPECT_EQ(pruned.jobs, 3U);
  EXPECT_THAT(this->left(), ElementsAre(4, 5, 6));
}

TYPED_TEST(StorePrune, ThoseThatGoForTheirAgeAreNotTooManyAnyMore) {
  auto jobs = heavy_jobs(1, 6);
  for (std::uint64_t id : {1, 2}) jobs[id - 1].status.finished_at = at(kEnqueuedAt + 10);
  put(this->store(), jobs);
  Prune prune = prune_excess(3, 0);
  prune.finished_before = kCutoff;
  prune.lanes[0].finished_before.fill(kCutoff);

  EXPECT_EQ(this->template load<Pruned>(prune).jobs, 3U);
  EXPECT_THAT(this->left(), ElementsAre(4, 5, 6));
}

TYPED_TEST(StorePrune, TheWalkGoesOnPastYoungJobsWhileThereAreTooMany) {
  std::vector<JobInsert> jobs;
  for (std::uint64_t id = 1; id <= 25; ++id) jobs.push_back(ready_job(id));
  for (JobInsert& job : heavy_jobs(26, 60)) jobs.push_back(job);
  put(this->store(), jobs);

  const auto pruned = this->template load<Pruned>(prune_excess(2, 0));

  EXPECT_EQ(pruned.jobs, 2U);
  EXPECT_FALSE(pruned.next);  // and then it ends where the jobs are young
  EXPECT_EQ(this->left().size(), 58U);
}

TYPED_TEST(StorePrune, AStepEndsAtItsBytes) {
  auto jobs = heavy_jobs(1, 6);
  put(this->store(), jobs);
  Prune prune = prune_excess(6, 0);
  prune.bytes_max = 150;

  const auto first = this->template load<Pruned>(prune);
  prune.bytes_max = 1;
  prune.from = first.next;
  const auto second = this->template load<Pruned>(prune);

  EXPECT_EQ(first.jobs, 2U);
  EXPECT_EQ(first.next, JobId{3});
  EXPECT_EQ(second.jobs, 1U);
  EXPECT_EQ(second.next, JobId{4});
}

TYPED_TEST(StorePrune, LanesCountTheBytesOfPayloadsAndResults) {
  auto job = leased_job(1, 1);
  job.payload = Payload::text("grün");
  put(this->store(), {job, ready_job(2)});
  put(this->store(), {job}, {finish(job, JobState::done, 1)});
  EXPECT_EQ(this->restart().lanes[0].bytes[4], 5U + 8U);

  const auto pruned = this->template load<Pruned>(prune_excess(1, 0));

  ASSERT_EQ(pruned.deltas.size(), 1U);
  EXPECT_EQ(pruned.deltas[0].bytes[4], -13);
  EXPECT_EQ(this->restart().lanes[0].bytes[4], 0U);
}

TYPED_TEST(StorePrune, BytesThatGoBelowZeroAreABug) {
  WriteBatch batch;
  batch.lane_deltas = {{kLane, {}, {}}};
  batch.lane_deltas[0].bytes[5] = -1;

  EXPECT_EQ(thrown_code([&] { this->store().commit(batch); }), ErrorCode::internal);
}

TYPED_TEST(StorePrune, OutputsGoWithTheirJob) {
  put(this->store(), {ended_job(1, 10), ready_job(2)});
  WriteBatch batch;
  batch.outputs = {{.seq = OutputSeq{1}, .job = JobId{1}, .lease = LeaseId{1}, .n = 1, .data = {}},
                   {.seq = OutputSeq{2}, .job = JobId{2}, .lease = LeaseId{2}, .n = 1, .data = {}}};
  this->store().commit(batch);

  this->prune();
  put(this->store(), {ready_job(1)});

  const ReadJob first{.job = JobId{1}, .rows_max = 9, .bytes_max = 9};
  const ReadJob second{.job = JobId{2}, .rows_max = 9, .bytes_max = 9};
  EXPECT_THAT(this->query().job(first).rows, IsEmpty());
  EXPECT_EQ(this->query().job(second).rows.size(), 1U);
}

TYPED_TEST(StorePrune, OutputsCountTowardsTheBytesOfAStep) {
  put(this->store(), {ended_job(1, 10), ended_job(2, 10)});
  WriteBatch batch;
  batch.outputs = {{.seq = OutputSeq{1},
                    .job = JobId{1},
                    .lease = LeaseId{1},
                    .n = 1,
                    .data = Payload::text(std::string(500, 'x'))}};
  this->store().commit(batch);
  Prune prune = prune_by_age(kCutoff);
  prune.bytes_max = 400;

  const auto pruned = this->template load<Pruned>(prune);

  EXPECT_EQ(pruned.jobs, 1U);
  EXPECT_EQ(pruned.next, JobId{2});
  EXPECT_THAT(pruned.deltas.at(0).bytes, ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
}

TYPED_TEST(StorePrune, OutdatedKeysGoAndThoseThatAreHeldStay) {
  WriteBatch batch;
  batch.unique_acquired = {{"default", "held", JobId{1}, {}},
                           {"default", "old", JobId{2}, at(99)},
                           {"default", "just", JobId{3}, at(100)}};
  this->store().commit(batch);
  Prune prune{.unique_before = at(100), .from = {}, .jobs_max = 10};

  EXPECT_FALSE(this->template load<Pruned>(prune).next);

  const auto left = this->template load<LoadedUnique>(
      LoadUnique{.queue = "default", .keys = {"held", "old", "just"}});
  EXPECT_THAT(left.rows, ElementsAre(batch.unique_acquired[0], batch.unique_acquired[2]));
}

TYPED_TEST(StorePrune, ManyOutdatedKeysTakeSteps) {
  WriteBatch batch;
  for (int i = 0; i < 25; ++i)
    batch.unique_acquired.push_back({"default", std::to_string(i), JobId{1}, at(5)});
  this->store().commit(batch);
  Prune prune{.unique_before = at(100), .from = {}, .jobs_max = 1};

  int steps = 0;
  do {
    prune.from = this->template load<Pruned>(prune).next;
    ++steps;
  } while (prune.from && steps < 10);

  EXPECT_EQ(steps, 3);
  const auto left =
      this->template load<LoadedUnique>(LoadUnique{.queue = "default", .keys = {"0", "24"}});
  EXPECT_THAT(left.rows, IsEmpty());
}

TYPED_TEST(StorePrune, AYoungBatchGoesOnlyWhenItIsSealed) {
  auto own = ended_job(2, 90'000);
  own.spec.batch = BatchId{2};
  WriteBatch batch;
  batch.inserts = {ended_job(1, 90'000), own};
  const Time young = at(kEnqueuedAt + 80'000);
  batch.batches = {{.id = BatchId{1}, .sealed = true, .owner = {}, .created_at = young},
                   {.id = BatchId{2}, .sealed = false, .owner = {}, .created_at = young}};
  count(batch);
  this->store().commit(batch);

  EXPECT_EQ(this->template load<Pruned>(prune_excess(2, 0)).jobs, 2U);

  EXPECT_FALSE(this->has_batch(1));
  EXPECT_TRUE(this->has_batch(2));  // its producer may come back
}

}  // namespace
}  // namespace millrace::broker::testing

// Commits, guards, loads and restarts.

#include "tests/contract/store_contract.h"

#include <gmock/gmock.h>

#include <random>

namespace millrace::broker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

template <class Backend>
using StoreCommit = StoreContract<Backend>;
template <class Backend>
using StoreLoad = StoreContract<Backend>;
template <class Backend>
using StoreRestart = StoreContract<Backend>;
TYPED_TEST_SUITE(StoreCommit, Backends, BackendNames);
TYPED_TEST_SUITE(StoreLoad, Backends, BackendNames);
TYPED_TEST_SUITE(StoreRestart, Backends, BackendNames);

JobInsert full_job() {
  JobInsert job = ready_job(7);
  job.spec.priority = 3;
  job.spec.batch = BatchId{5};
  job.spec.replay_of = JobId{2};
  job.spec.max_attempts = 9;
  job.spec.timeout = Duration{1234};
  job.spec.backoff = Duration{77};
  job.spec.absolute = true;
  job.spec.crashes_max = 5;
  job.spec.retry = "1s,5s jitter:0";
  job.spec.expires_at = at(kEnqueuedAt + 60'000);
  job.spec.unique_key = "order 17";
  job.spec.unique_scope = UniqueScope::queued;
  job.status.unique_held = true;
  job.status.lease = LeaseId{(3ULL << 40) + 8};
  job.status.worker = WorkerId{4};
  job.status.deliveries = 6;
  job.status.attempts = 2;
  job.status.crashes = 1;
  job.status.attempts_base = 1;
  job.status.crashes_base = 1;
  job.status.started_at = at(kEnqueuedAt + 5);
  job.status.finished_at = at(kEnqueuedAt + 6);
  job.status.finish_seq = FinishSeq{11};
  job.status.error = "refused: nobody listens";
  job.payload = Payload::text(R"({"n":1})");
  return job;
}

TYPED_TEST(StoreCommit, KeepsEveryFieldOfAJob) {
  const JobInsert job = full_job();

  put(this->store(), {job});

  const auto loaded = this->template load<LoadedJobs>(LoadJobs{.ids = {job.id}, .payloads = true});
  ASSERT_EQ(loaded.jobs.size(), 1U);
  expect_same(job, loaded.jobs[0]);
}

TYPED_TEST(StoreCommit, AnUpdateReplacesTheStatusAndKeepsTheRest) {
  JobInsert job = full_job();
  put(this->store(), {job});

  JobUpdate update = change(job, JobState::scheduled);
  update.status.run_at = at(kEnqueuedAt + 99);
  update.status.attempts = 5;
  update.status.finish_seq = {};
  update.status.error.clear();
  put(this->store(), {job}, {update});

  job.status = update.status;
  const auto loaded = this->template load<LoadedJobs>(LoadJobs{.ids = {job.id}});
  ASSERT_EQ(loaded.jobs.size(), 1U);
  expect_same(job, loaded.jobs[0]);
}

TYPED_TEST(StoreCommit, TextBinaryAndNoPayloadComeBackAsTheyWere) {
  const std::vector<Payload> payloads = {
      {},
      Payload::text(""),
      Payload::binary(""),
      Payload::text("grün\n\"quoted\""),
      Payload::text(std::string("nul\0inside", 10)),
      Payload::binary(std::string("\xff\xfe\x00\xc3\x28", 5)),
      Payload::text("\xff not UTF-8"),
      Payload::text("123"),
      Payload::binary(std::string(300'000, '\x80')),
  };
  std::vector<JobInsert> jobs;
  std::vector<JobUpdate> updates;
  std::vector<JobId> ids;
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    jobs.push_back(leased_job(i + 1, i + 1));
    jobs.back().payload = payloads[i];
    updates.push_back(finish(jobs.back(), JobState::done, i + 1));
    updates.back().result = payloads[i];
    ids.push_back(jobs.back().id);
  }

  put(this->store(), jobs);
  put(this->store(), jobs, updates);

  EXPECT_EQ(this->store().payloads(ids), payloads);
  const auto read = this->query().results(
      {.to = {}, .batch = BatchId{1}, .from = {}, .rows_max = 100, .bytes_max = 1'000'000});
  ASSERT_EQ(read.rows.size(), payloads.size());
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    EXPECT_EQ(read.rows[i].result, payloads[i]) << i;
    const auto item = this->query().item({.job = ids[i], .batch = {}});
    ASSERT_TRUE(item);
    EXPECT_EQ(item->job[0].payload, payloads[i]) << i;
    EXPECT_EQ(item->job[0].result, payloads[i]) << i;
  }
}

TYPED_TEST(StoreCommit, AnUpdateOfAJobInAnotherStateIsABug) {
  const JobInsert job = leased_job(1, 10);
  put(this->store(), {job});
  JobInsert other = job;
  other.status.state = JobState::ready;

  EXPECT_EQ(thrown_code([&] { put(this->store(), {job}, {change(other, JobState::done)}); }),
            ErrorCode::internal);
}

TYPED_TEST(StoreCommit, AnUpdateUnderAnotherLeaseIsABugAndWritesNothing) {
  const JobInsert job = leased_job(1, 10);
  put(this->store(), {job});
  JobInsert stale = job;
  stale.status.lease = LeaseId{9};
  WriteBatch batch;
  batch.inserts = {ready_job(2)};
  batch.updates = {finish(stale, JobState::done, 1)};
  count(batch, {job});

  EXPECT_EQ(thrown_code([&] { this->store().commit(batch); }), ErrorCode::internal);

  const Snapshot snapshot = this->restart();
  EXPECT_EQ(snapshot.last_job, JobId{1});
  EXPECT_EQ(snapshot.leased.size(), 1U);
  EXPECT_THAT(this->template load<LoadedJobs>(LoadJobs{.ids = {JobId{2}}}).jobs, IsEmpty());
}

TYPED_TEST(StoreCommit, AfterAnErrorEveryCallThrows) {
  put(this->store(), {ready_job(1)});
  EXPECT_EQ(thrown_code([&] { put(this->store(), {ready_job(1)}); }), ErrorCode::internal);

  EXPECT_THROW(put(this->store(), {ready_job(2)}), StoreError);
  EXPECT_THROW(static_cast<void>(this->store().load(LoadBatch{BatchId{1}})), StoreError);
  EXPECT_THROW(this->store().maintain(), StoreError);
}

TYPED_TEST(StoreCommit, CountersThatGoBelowZeroAreABug) {
  WriteBatch batch;
  batch.lane_deltas = {{kLane, {}}};
  batch.lane_deltas[0].deltas[2] = -1;

  EXPECT_EQ(thrown_code([&] { this->store().commit(batch); }), ErrorCode::internal);
}

TYPED_TEST(StoreCommit, TheSameRequestTwiceIsABug) {
  WriteBatch batch;
  batch.requests = {{.id = {1, 1}, .replay_of = {}}};
  this->store().commit(batch);

  EXPECT_EQ(thrown_code([&] { this->store().commit(batch); }), ErrorCode::internal);
}

TYPED_TEST(StoreCommit, CountersEqualRowsAfterRandomChanges) {
  const auto seed = static_cast<unsigned>(::testing::UnitTest::GetInstance()->random_seed());
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto upto = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  std::vector<JobInsert> jobs;
  std::uint64_t lease = 0;
  std::uint64_t seq = 0;

  for (int round = 0; round < 60; ++round) {
    WriteBatch batch;
    for (unsigned n = upto(20); n > 0; --n) {
      batch.inserts.push_back(ready_job(jobs.size() + batch.inserts.size() + 1));
      batch.inserts.back().spec.lane = LaneId{1 + upto(2)};
    }
    for (JobInsert& job : jobs) {
      if (is_final(job.status.state) || upto(4) != 0) continue;
      auto update = change(job, static_cast<JobState>(upto(kJobStateCount)));
      update.status.lease = LeaseId{++lease};
      if (is_final(update.status.state)) update.status.finish_seq = FinishSeq{++seq};
      batch.updates.push_back(update);
    }
    count(batch, jobs);
    this->store().commit(batch);
    for (const JobUpdate& update : batch.updates) jobs[update.id.value - 1].status = update.status;
    jobs.insert(jobs.end(), batch.inserts.begin(), batch.inserts.end());
  }

  std::vector<StateCounts> expected(3);
  for (const JobInsert& job : jobs)
    ++expected[job.spec.lane.value][static_cast<std::size_t>(job.status.state)];
  const Snapshot snapshot = this->restart();
  ASSERT_EQ(snapshot.lanes.size(), 2U);
  EXPECT_EQ(snapshot.lanes[0].counts, expected[1]);
  EXPECT_EQ(snapshot.lanes[1].counts, expected[2]);
  EXPECT_EQ(snapshot.leased.size(), expected[1][3] + expected[2][3]);
  const auto page = this->query().page({.filter = {}, .limit = 1000});
  EXPECT_EQ(page.jobs.size(), std::min<std::size_t>(jobs.size(), 1000));
}

TYPED_TEST(StoreLoad, ReadyJobsComeByPriorityThenId) {
  auto urgent = ready_job(5);
  urgent.spec.priority = 0;
  auto lazy = ready_job(1);
  lazy.spec.priority = 255;
  auto other = ready_job(4);
  other.spec.lane = LaneId{2};
  put(this->store(), {lazy, ready_job(2), ready_job(3), other, urgent, leased_job(6, 1)});

  const auto loaded =
      this->template load<LoadedReady>(LoadReady{.lane = kLane, .after_id = {}, .jobs_max = 100});

  EXPECT_THAT(ids(loaded.jobs), ElementsAre(5, 2, 3, 1));
  EXPECT_TRUE(loaded.end);
  EXPECT_EQ(loaded.lane, kLane);
}

TYPED_TEST(StoreLoad, ReadyJobsGoOnAfterTheLastOne) {
  put(this->store(), {ready_job(1), ready_job(2), ready_job(3), ready_job(4)});
  LoadReady load{.lane = kLane, .after_id = {}, .jobs_max = 2};

  const auto first = this->template load<LoadedReady>(load);
  load.after_priority = kPriorityDefault;
  load.after_id = first.jobs.back().id;
  const auto second = this->template load<LoadedReady>(load);
  load.after_id = second.jobs.back().id;
  const auto third = this->template load<LoadedReady>(load);

  EXPECT_THAT(ids(first.jobs), ElementsAre(1, 2));
  EXPECT_FALSE(first.end);
  EXPECT_THAT(ids(second.jobs), ElementsAre(3, 4));
  EXPECT_TRUE(second.end);
  EXPECT_THAT(third.jobs, IsEmpty());
  EXPECT_TRUE(third.end);
}

TYPED_TEST(StoreLoad, ScheduledJobsComeByTimeThenId) {
  put(this->store(), {scheduled_job(1, 30), scheduled_job(2, 10), scheduled_job(3, 10),
                      ready_job(4), scheduled_job(5, 20)});

  const auto first =
      this->template load<LoadedScheduled>(LoadScheduled{.after_id = {}, .jobs_max = 2});
  const auto second = this->template load<LoadedScheduled>(LoadScheduled{
      .after_run_at = first.jobs.back().status.run_at, .after_id = JobId{3}, .jobs_max = 2});

  EXPECT_THAT(ids(first.jobs), ElementsAre(2, 3));
  EXPECT_FALSE(first.end);
  EXPECT_THAT(ids(second.jobs), ElementsAre(5, 1));
  EXPECT_TRUE(second.end);
}

TYPED_TEST(StoreLoad, LargePayloadsStayUnlessAskedFor) {
  auto large = ready_job(1);
  large.payload = Payload::text(std::string(kPayloadInlineMax + 1, 'x'));
  auto small = ready_job(2);
  small.payload = Payload::text(std::string(kPayloadInlineMax, 'y'));
  put(this->store(), {large, small});

  const auto ready =
      this->template load<LoadedReady>(LoadReady{.lane = kLane, .after_id = {}, .jobs_max = 9});
  const auto whole = this->template load<LoadedJobs>(LoadJobs{.ids = {JobId{1}}, .payloads = true});

  ASSERT_EQ(ready.jobs.size(), 2U);
  EXPECT_TRUE(ready.jobs[0].payload.empty());
  EXPECT_EQ(ready.jobs[0].payload_bytes, kPayloadInlineMax + 1);
  EXPECT_EQ(ready.jobs[1].payload, small.payload);
  EXPECT_EQ(whole.jobs.at(0).payload, large.payload);
}

TYPED_TEST(StoreLoad, JobsByIdLeaveOutThoseThatDoNotExist) {
  put(this->store(), {ready_job(1), leased_job(2, 5)});
  WriteBatch batch;
  batch.batches = {{.id = BatchId{1}, .sealed = true, .owner = {}, .total = 2}};
  this->store().commit(batch);

  const auto loaded = this->template load<LoadedJobs>(
      LoadJobs{.ticket = 77, .ids = {JobId{2}, JobId{9}, JobId{1}}});

  EXPECT_EQ(loaded.ticket, 77U);
  EXPECT_THAT(ids(loaded.jobs), ElementsAre(2, 1));
  ASSERT_EQ(loaded.batches.size(), 1U);
  EXPECT_EQ(loaded.batches[0].total, 2U);
}

TYPED_TEST(StoreLoad, PayloadsOfAnUnknownJobAreABug) {
  const std::vector<JobId> ids = {JobId{1}};
  EXPECT_EQ(thrown_code([&] { static_cast<void>(this->store().payloads(ids)); }),
            ErrorCode::internal);
}

TYPED_TEST(StoreLoad, ARequestIsFoundWithTheHighestCounterOfItsPrefix) {
  constexpr std::uint64_t kPrefix = 0xFFEEDDCCBBAA9988;
  constexpr std::uint64_t kLarge = (1ULL << 63) - 1;
  WriteBatch batch;
  batch.requests = {{.id = {kPrefix, 1},
                     .body_hash = ~0ULL,
                     .batch = BatchId{3},
                     .first = JobId{3},
                     .count = 4,
                     .replay_of = {JobId{1}, JobId{1ULL << 40}},
                     .at = at(50)},
                    {.id = {kPrefix, kLarge}, .replay_of = {}},
                    {.id = {kPrefix - 1, 8}, .replay_of = {}},
                    {.id = {5, 2}, .replay_of = {}}};
  this->store().commit(batch);

  const auto found = this->template load<LoadedRequest>(LoadRequest{{kPrefix, 1}});
  const auto missing = this->template load<LoadedRequest>(LoadRequest{{5, 1}});
  const auto unknown = this->template load<LoadedRequest>(LoadRequest{{6, 1}});

  ASSERT_TRUE(found.row);
  EXPECT_EQ(found.row->body_hash, ~0ULL);
  EXPECT_EQ(found.row->batch, BatchId{3});
  EXPECT_EQ(found.row->first, JobId{3});
  EXPECT_EQ(found.row->count, 4U);
  EXPECT_THAT(found.row->replay_of, ElementsAre(JobId{1}, JobId{1ULL << 40}));
  EXPECT_EQ(found.row->at, at(50));
  EXPECT_EQ(found.counter_max, kLarge);
  EXPECT_FALSE(missing.row);
  EXPECT_EQ(missing.counter_max, 2U);
  EXPECT_FALSE(unknown.row);
  EXPECT_EQ(unknown.counter_max, 0U);
}

TYPED_TEST(StoreLoad, ABatchIsReplacedAsAWhole) {
  BatchRow row{.id = BatchId{4},
               .owner = std::string("\0owner", 6),
               .total = 5,
               .open = 3,
               .done = 1,
               .dead = 1,
               .created_at = at(9)};
  WriteBatch batch;
  batch.batches = {row};
  this->store().commit(batch);
  row.sealed = true;
  row.open = 2;
  row.cancelled = 1;
  batch.batches = {row};
  this->store().commit(batch);

  const auto loaded = this->template load<LoadedBatch>(LoadBatch{BatchId{4}});

  ASSERT_TRUE(loaded.row);
  EXPECT_TRUE(loaded.row->sealed);
  EXPECT_FALSE(loaded.row->implicit);
  EXPECT_EQ(loaded.row->owner, row.owner);
  EXPECT_EQ(loaded.row->open, 2U);
  EXPECT_EQ(loaded.row->cancelled, 1U);
  EXPECT_EQ(loaded.row->created_at, at(9));
  EXPECT_FALSE(this->template load<LoadedBatch>(LoadBatch{BatchId{5}}).row);
}

TYPED_TEST(StoreLoad, AJobThatIsItsOwnBatchTellsItsBatch) {
  put(this->store(), {ready_job(1), ready_job(2)});  // both of batch 1, which has no row

  const auto own = this->template load<LoadedBatch>(LoadBatch{BatchId{1}});
  const auto none = this->template load<LoadedBatch>(LoadBatch{BatchId{2}});

  ASSERT_TRUE(own.row);
  EXPECT_TRUE(own.row->implicit);
  EXPECT_TRUE(own.row->sealed);
  EXPECT_EQ(own.row->total, 1U);
  EXPECT_EQ(own.row->open, 1U);
  EXPECT_FALSE(none.row);
}

TYPED_TEST(StoreRestart, RaisesTheEpoch) {
  const Snapshot second = this->restart();
  const Snapshot third = this->restart();

  EXPECT_EQ(second.epoch, 2U);
  EXPECT_EQ(third.epoch, 3U);
}

TYPED_TEST(StoreRestart, KeepsEverything) {
  auto leased = leased_job(2, (1ULL << 40) + 3);
  leased.status.worker = WorkerId{6};
  put(this->store(), {ready_job(1), leased, leased_job(3, 1)});
  WriteBatch batch;
  batch.queues = {
      {.name = "default", .state = QueueState::closed, .paused = true, .generation = 4}};
  batch.batches = {{.id = BatchId{1}, .owner = "o", .total = 3, .open = 3},
                   {.id = BatchId{8}, .sealed = true, .owner = {}, .total = 1, .done = 1}};
  batch.workers = {{WorkerId{6}, std::string(16, '\0'), "w", "host", 99, at(5), {}},
                   {WorkerId{7}, std::string(16, 'x'), "idle", "host", 98, at(6), {}}};
  batch.last_job = JobId{50};
  batch.last_finish = FinishSeq{60};
  this->store().commit(batch);

  const Snapshot snapshot = this->restart();

  EXPECT_EQ(snapshot.last_job, JobId{50});
  EXPECT_EQ(snapshot.last_finish, FinishSeq{60});
  EXPECT_EQ(snapshot.last_worker, WorkerId{7});
  ASSERT_EQ(snapshot.lanes.size(), 2U);
  EXPECT_EQ(snapshot.lanes[1].queue, "mail");
  EXPECT_EQ(snapshot.lanes[0].counts[2], 1U);
  EXPECT_EQ(snapshot.lanes[0].counts[3], 2U);
  ASSERT_EQ(snapshot.queues.size(), 1U);
  EXPECT_EQ(snapshot.queues[0].state, QueueState::closed);
  EXPECT_TRUE(snapshot.queues[0].paused);
  EXPECT_EQ(snapshot.queues[0].generation, 4U);
  ASSERT_EQ(snapshot.batches.size(), 1U);  // the other one has ended
  EXPECT_EQ(snapshot.batches[0].owner, "o");
  ASSERT_EQ(snapshot.workers.size(), 1U);  // the other one holds nothing
  EXPECT_EQ(snapshot.workers[0].session, std::string(16, '\0'));
  EXPECT_EQ(snapshot.workers[0].pid, 99);
  EXPECT_THAT(ids(snapshot.leased), ElementsAre(3, 2));
  expect_same(leased, snapshot.leased[1]);
}

TYPED_TEST(StoreRestart, MarksNeverFall) {
  WriteBatch batch;
  batch.last_job = JobId{50};
  this->store().commit(batch);
  batch.last_job = JobId{40};
  batch.last_finish = FinishSeq{1};
  this->store().commit(batch);

  EXPECT_EQ(this->restart().last_job, JobId{50});
}

}  // namespace
}  // namespace millrace::broker::testing

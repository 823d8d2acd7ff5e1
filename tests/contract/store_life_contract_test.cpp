// Unique keys, expiry, kinds and outputs.

#include <gmock/gmock.h>

#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

template <class Backend>
class StoreUnique : public StoreContract<Backend> {
 protected:
  void write(std::vector<UniqueRow> released, std::vector<UniqueRow> acquired) {
    WriteBatch batch;
    batch.unique_released = std::move(released);
    batch.unique_acquired = std::move(acquired);
    this->store().commit(batch);
  }
  LoadedUnique look(std::vector<std::string> keys, const std::string& queue = "default") {
    return this->template load<LoadedUnique>(
        LoadUnique{.ticket = 9, .queue = queue, .keys = std::move(keys)});
  }
};
template <class Backend>
using StoreExpiry = StoreContract<Backend>;
template <class Backend>
using StoreKinds = StoreContract<Backend>;
template <class Backend>
class StoreOutputs : public StoreContract<Backend> {
 protected:
  void write(std::vector<OutputRow> rows) {
    WriteBatch batch;
    for (const OutputRow& row : rows) batch.last_output = std::max(batch.last_output, row.seq);
    batch.outputs = std::move(rows);
    this->store().commit(batch);
  }
  JobRead watch(std::uint64_t job, std::uint64_t from = 0, std::size_t rows_max = 100,
                std::size_t bytes_max = 1 << 20) {
    return this->query().job({.to = ConnectionId{3},
                              .correlation = 4,
                              .job = JobId{job},
                              .from = OutputSeq{from},
                              .rows_max = rows_max,
                              .bytes_max = bytes_max});
  }
};
TYPED_TEST_SUITE(StoreUnique, Backends, BackendNames);
TYPED_TEST_SUITE(StoreExpiry, Backends, BackendNames);
TYPED_TEST_SUITE(StoreKinds, Backends, BackendNames);
TYPED_TEST_SUITE(StoreOutputs, Backends, BackendNames);

UniqueRow key(const std::string& name, std::uint64_t job, std::int64_t until = 0) {
  return {"default", name, JobId{job}, at(until)};
}

OutputRow output(std::uint64_t seq, std::uint64_t job, std::uint64_t lease, std::uint64_t n,
                 OutputType type = OutputType::log) {
  return {OutputSeq{seq},
          JobId{job},
          LeaseId{lease},
          n,
          2,
          type,
          at(kEnqueuedAt + static_cast<std::int64_t>(seq)),
          Payload::text("row " + std::to_string(seq))};
}

std::vector<std::uint64_t> cursors(const JobRead& read) {
  std::vector<std::uint64_t> cursors;
  for (const auto& row : read.rows) cursors.push_back(row.cursor.value);
  return cursors;
}

TYPED_TEST(StoreUnique, AKeyIsFoundWithItsHolderAndItsBatch) {
  auto holder = ready_job(1);
  holder.spec.unique_key = "a";
  holder.status.unique_held = true;
  WriteBatch batch;
  batch.inserts = {holder};
  batch.batches = {{.id = BatchId{1}, .owner = {}, .total = 5}};
  batch.unique_acquired = {key("a", 1), key("gone", 77, 5000), {"mail", "a", JobId{8}, {}}};
  count(batch);
  this->store().commit(batch);

  const auto loaded = this->look({"a", "b", "gone"});

  EXPECT_EQ(loaded.ticket, 9U);
  EXPECT_THAT(loaded.rows, ElementsAre(key("a", 1), key("gone", 77, 5000)));
  ASSERT_THAT(ids(loaded.jobs), ElementsAre(1));
  EXPECT_TRUE(loaded.jobs[0].status.unique_held);
  ASSERT_EQ(loaded.batches.size(), 1U);
  EXPECT_EQ(loaded.batches[0].total, 5U);
  this->restart();
  EXPECT_THAT(this->look({"a"}, "mail").rows, ElementsAre(UniqueRow{"mail", "a", JobId{8}, {}}));
}

TYPED_TEST(StoreUnique, OneHasItAfterAnother) {
  this->write({}, {key("a", 1)});
  this->write({key("a", 1)}, {key("a", 2, 99)});
  EXPECT_THAT(this->look({"a"}).rows, ElementsAre(key("a", 2, 99)));

  this->write({key("a", 2, 99)}, {});

  EXPECT_THAT(this->look({"a"}).rows, IsEmpty());
}

TYPED_TEST(StoreUnique, AKeyThatIsTakenCannotBeTaken) {
  this->write({}, {key("a", 1)});

  EXPECT_EQ(thrown_code([&] { this->write({}, {key("a", 2)}); }), ErrorCode::internal);

  this->restart();
  EXPECT_THAT(this->look({"a"}).rows, ElementsAre(key("a", 1)));
}

TYPED_TEST(StoreUnique, TwoCannotTakeAKeyAtOnce) {
  EXPECT_EQ(thrown_code([&] { this->write({}, {key("a", 1), key("a", 2)}); }), ErrorCode::internal);
}

TYPED_TEST(StoreUnique, OnlyItsHolderGivesAKeyBack) {
  this->write({}, {key("a", 1)});

  EXPECT_EQ(thrown_code([&] { this->write({key("a", 2)}, {}); }), ErrorCode::internal);
}

TYPED_TEST(StoreUnique, AKeyIsGivenBackAsItWasTaken) {
  this->write({}, {key("a", 1, 50)});

  EXPECT_EQ(thrown_code([&] { this->write({key("a", 1, 51)}, {}); }), ErrorCode::internal);
}

TYPED_TEST(StoreUnique, AKeyThatNobodyHoldsCannotBeGivenBack) {
  EXPECT_EQ(thrown_code([&] { this->write({key("a", 1)}, {}); }), ErrorCode::internal);
}

TYPED_TEST(StoreUnique, JobsTellWhoHoldsTheirKeysNow) {
  auto dead = ready_job(1);
  dead.spec.unique_key = "a";
  auto other = ready_job(3);  // the same key in another queue
  other.spec.unique_key = "a";
  other.spec.lane = LaneId{2};
  put(this->store(), {dead, ready_job(2), other});
  this->write({}, {key("a", 7), key("b", 8)});
  LoadJobs load{.ids = {JobId{1}, JobId{1}, JobId{2}, JobId{3}}};

  EXPECT_THAT(this->template load<LoadedJobs>(load).unique, IsEmpty());
  load.unique = true;
  EXPECT_THAT(this->template load<LoadedJobs>(load).unique, ElementsAre(key("a", 7)));
}

TYPED_TEST(StoreUnique, AnUpdateTellsWhetherTheKeyIsHeld) {
  auto job = leased_job(1, 5);
  job.spec.unique_key = "a";
  job.status.unique_held = true;
  put(this->store(), {job});
  JobUpdate update = finish(job, JobState::done, 1);
  update.status.unique_held = false;

  put(this->store(), {job}, {update});

  const auto item = this->query().item({.job = job.id, .batch = {}});
  ASSERT_TRUE(item);
  EXPECT_EQ(item->job[0].unique_key, "a");
  EXPECT_FALSE(item->job[0].unique_held);
}

TYPED_TEST(StoreUnique, ARequestRemembersTheIdsOfItsAnswer) {
  WriteBatch batch;
  batch.requests = {{.id = {1, 1}, .replay_of = {}, .ids = {JobId{9}, JobId{1ULL << 40}}},
                    {.id = {1, 2}, .replay_of = {JobId{5}}}};
  this->store().commit(batch);

  const auto first = this->template load<LoadedRequest>(LoadRequest{{1, 1}});
  const auto second = this->template load<LoadedRequest>(LoadRequest{{1, 2}});

  EXPECT_THAT(first.row->ids, ElementsAre(JobId{9}, JobId{1ULL << 40}));
  EXPECT_THAT(first.row->replay_of, IsEmpty());
  EXPECT_THAT(second.row->ids, IsEmpty());
  EXPECT_THAT(second.row->replay_of, ElementsAre(JobId{5}));
}

JobInsert expiring(JobInsert job, std::int64_t expires_at) {
  job.spec.expires_at = at(kEnqueuedAt + expires_at);
  return job;
}

TYPED_TEST(StoreExpiry, WaitingJobsComeInTheOrderOfTheirExpiry) {
  put(this->store(),
      {expiring(ready_job(1), 30), expiring(scheduled_job(2, 500), 10), expiring(ready_job(3), 20),
       expiring(leased_job(4, 1), 5), ready_job(5), expiring(ready_job(6), 40)});

  const auto some =
      this->template load<LoadedExpired>(LoadExpired{.upto = at(kEnqueuedAt + 30), .jobs_max = 10});
  const auto two =
      this->template load<LoadedExpired>(LoadExpired{.upto = at(kEnqueuedAt + 99), .jobs_max = 2});
  const auto all =
      this->template load<LoadedExpired>(LoadExpired{.upto = at(kEnqueuedAt + 40), .jobs_max = 10});

  EXPECT_THAT(ids(some.jobs), ElementsAre(2, 3, 1));
  EXPECT_EQ(some.next, at(kEnqueuedAt + 40));
  EXPECT_THAT(ids(two.jobs), ElementsAre(2, 3));
  EXPECT_EQ(two.next, at(kEnqueuedAt + 30));
  EXPECT_THAT(ids(all.jobs), ElementsAre(2, 3, 1, 6));
  EXPECT_FALSE(all.next);
}

TYPED_TEST(StoreExpiry, TheyBringTheirBatches) {
  WriteBatch batch;
  batch.inserts = {expiring(ready_job(1), 30)};
  batch.batches = {{.id = BatchId{1}, .owner = {}, .total = 4}};
  count(batch);
  this->store().commit(batch);

  const auto loaded =
      this->template load<LoadedExpired>(LoadExpired{.upto = at(kEnqueuedAt + 30), .jobs_max = 10});

  ASSERT_EQ(loaded.batches.size(), 1U);
  EXPECT_EQ(loaded.batches[0].total, 4U);
}

TYPED_TEST(StoreExpiry, AJobThatIsGivenOutOrEndsIsNotAmongThem) {
  const auto leaving = expiring(ready_job(1), 30);
  const auto coming = expiring(leased_job(2, 7), 30);
  put(this->store(), {leaving, coming});

  JobUpdate end = finish(leaving, JobState::expired, 1);
  put(this->store(), {leaving, coming}, {end, change(coming, JobState::ready)});

  const auto loaded =
      this->template load<LoadedExpired>(LoadExpired{.upto = at(kEnqueuedAt + 99), .jobs_max = 10});
  EXPECT_THAT(ids(loaded.jobs), ElementsAre(2));
  EXPECT_FALSE(loaded.next);
}

TYPED_TEST(StoreKinds, WhatWasSaidOfAKindSurvives) {
  WriteBatch batch;
  batch.kinds = {
      {.name = "mail", .options = {5, 2, Duration{9000}, "linear:5s", true}, .by_operator = true},
      {.name = "sum", .options = {}},
      {.name = "old", .options = {.max_attempts = 1}}};
  this->store().commit(batch);
  const auto mail = batch.kinds[0].options;
  batch.kinds = {{.name = "sum", .options = {.max_attempts = 8}}, {.name = "old", .gone = true}};
  this->store().commit(batch);

  const Snapshot snapshot = this->restart();

  ASSERT_EQ(snapshot.kinds.size(), 2U);
  EXPECT_EQ(snapshot.kinds[0].name, "mail");
  EXPECT_EQ(snapshot.kinds[0].options, mail);
  EXPECT_TRUE(snapshot.kinds[0].by_operator);
  EXPECT_EQ(snapshot.kinds[1].name, "sum");
  EXPECT_EQ(snapshot.kinds[1].options.max_attempts, 8);
  EXPECT_EQ(snapshot.kinds[1].options.retry, "");
  EXPECT_FALSE(snapshot.kinds[1].by_operator);
}

TYPED_TEST(StoreOutputs, AJobsRowsComeInTheirOrderAfterTheCursor) {
  put(this->store(), {leased_job(1, 5), leased_job(2, 6)});
  auto chunk = output(4, 1, 5, 2, OutputType::chunk);
  chunk.data = Payload::binary(std::string("\0\xff", 2));
  this->write({output(1, 1, 5, 1), output(2, 2, 6, 1), chunk});

  const auto all = this->watch(1);
  const auto later = this->watch(1, 1);

  EXPECT_EQ(all.to, ConnectionId{3});
  EXPECT_EQ(all.correlation, 4U);
  EXPECT_EQ(all.job, JobId{1});
  EXPECT_TRUE(all.exists);
  EXPECT_FALSE(all.ended);
  EXPECT_FALSE(all.more);
  EXPECT_FALSE(all.result_asked);
  EXPECT_EQ(all.error, "");
  ASSERT_THAT(cursors(all), ElementsAre(1, 4));
  EXPECT_EQ(all.rows[0].attempt, 2);
  EXPECT_EQ(all.rows[0].type, OutputType::log);
  EXPECT_EQ(all.rows[0].data, Payload::text("row 1"));
  EXPECT_EQ(all.rows[0].at, at(kEnqueuedAt + 1));
  EXPECT_EQ(all.rows[1].type, OutputType::chunk);
  EXPECT_EQ(all.rows[1].data, chunk.data);
  EXPECT_THAT(cursors(later), ElementsAre(4));
  EXPECT_THAT(cursors(this->watch(1, 4)), IsEmpty());
  EXPECT_TRUE(this->watch(1, 4).exists);
  EXPECT_FALSE(this->watch(3).exists);
}

TYPED_TEST(StoreOutputs, APageEndsAtItsRowsOrBytes) {
  put(this->store(), {leased_job(1, 5)});
  this->write({output(1, 1, 5, 1), output(2, 1, 5, 2), output(3, 1, 5, 3)});

  const auto by_rows = this->watch(1, 0, 2);
  const auto by_bytes = this->watch(1, 0, 100, 1);
  const auto exact = this->watch(1, 0, 3);

  EXPECT_THAT(cursors(by_rows), ElementsAre(1, 2));
  EXPECT_TRUE(by_rows.more);
  EXPECT_THAT(cursors(by_bytes), ElementsAre(1));
  EXPECT_TRUE(by_bytes.more);
  EXPECT_THAT(cursors(exact), ElementsAre(1, 2, 3));
  EXPECT_FALSE(exact.more);
}

TYPED_TEST(StoreOutputs, TheEndOfAJobIsTheRowThatResultsHave) {
  const auto job = leased_job(1, 5);
  put(this->store(), {job, leased_job(2, 6)});
  put(this->store(), {job}, {finish(job, JobState::done, 8)});
  const auto await = [&](std::uint64_t id) {
    return this->query().job({.to = ConnectionId{1}, .job = JobId{id}, .result = true});
  };

  const auto ended = await(1);
  const auto running = await(2);

  EXPECT_TRUE(ended.ended);
  EXPECT_TRUE(ended.result_asked);
  ASSERT_TRUE(ended.result);
  EXPECT_EQ(ended.result->job, JobId{1});
  EXPECT_EQ(ended.result->kind, "sum");
  EXPECT_EQ(ended.result->state, JobState::done);
  EXPECT_EQ(ended.result->result, Payload::text("result 1"));
  EXPECT_EQ(ended.result->cursor, FinishSeq{8});
  EXPECT_TRUE(running.exists);
  EXPECT_FALSE(running.ended);
  EXPECT_FALSE(running.result);
  EXPECT_FALSE(await(3).exists);
}

TYPED_TEST(StoreOutputs, AnItemTellsTheNewestProgress) {
  put(this->store(), {leased_job(1, 5), leased_job(2, 6)});
  this->write({output(1, 1, 5, 1, OutputType::progress), output(2, 1, 5, 2, OutputType::progress),
               output(3, 1, 5, 3), output(4, 2, 6, 1)});

  EXPECT_EQ(this->query().item({.job = JobId{1}, .batch = {}})->job[0].progress,
            Payload::text("row 2"));
  EXPECT_TRUE(this->query().item({.job = JobId{2}, .batch = {}})->job[0].progress.empty());
  EXPECT_TRUE(this->query().page({.filter = {}}).jobs[0].progress.empty());
}

TYPED_TEST(StoreOutputs, ALeasedJobIsFoundWithTheLastNumberOfItsLease) {
  put(this->store(), {leased_job(1, 5), leased_job(2, 6), leased_job(3, 7)});
  this->write({output(1, 1, 4, 9), output(2, 1, 5, 1), output(3, 1, 5, 2), output(4, 2, 3, 7)});

  const Snapshot snapshot = this->restart();

  EXPECT_EQ(snapshot.last_output, OutputSeq{4});
  ASSERT_EQ(snapshot.leased.size(), 3U);
  EXPECT_EQ(snapshot.leased[0].outputs, 2U);
  EXPECT_EQ(snapshot.leased[1].outputs, 0U);
  EXPECT_EQ(snapshot.leased[2].outputs, 0U);
}

TYPED_TEST(StoreOutputs, TheSameRowTwiceIsABug) {
  this->write({output(1, 1, 5, 1)});
  EXPECT_EQ(thrown_code([&] { this->write({output(1, 1, 5, 2)}); }), ErrorCode::internal);
}

TYPED_TEST(StoreOutputs, JobsAreFoundByTheirKey) {
  auto one = ready_job(1);
  one.spec.unique_key = "order 17";
  one.spec.expires_at = at(kEnqueuedAt + 70);
  one.spec.retry = "linear:5s";
  one.spec.crashes_max = 9;
  one.status.unique_held = true;
  auto ended = leased_job(2, 1);
  ended.spec.unique_key = "order 17";
  auto other = ready_job(3);
  other.spec.unique_key = "order 18";
  put(this->store(), {one, ended, other, ready_job(4)});
  put(this->store(), {ended}, {finish(ended, JobState::done, 1)});

  const auto all = this->query().page({.filter = {.unique_key = "order 17"}});
  const auto ready =
      this->query().page({.filter = {.states = {JobState::ready}, .unique_key = "order 17"}});

  EXPECT_THAT(ids(all.jobs), ElementsAre(1, 2));
  ASSERT_THAT(ids(ready.jobs), ElementsAre(1));
  const protocol::JobInfo& info = ready.jobs[0];
  EXPECT_EQ(info.unique_key, "order 17");
  EXPECT_TRUE(info.unique_held);
  EXPECT_EQ(info.expires_at, at(kEnqueuedAt + 70));
  EXPECT_EQ(info.retry, "linear:5s");
  EXPECT_EQ(info.crashes_max, 9);
  EXPECT_EQ(info.max_attempts, kMaxAttemptsDefault);
}

}  // namespace
}  // namespace millrace::broker::testing

// Results, pages and single items.

#include <gmock/gmock.h>

#include <algorithm>

#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

using protocol::List;
using protocol::ListWhat;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

template <class Backend>
class StoreQuery : public StoreContract<Backend> {
 protected:
  /// Jobs 1 … `jobs` of batch 1, all leased, ended in the order of `order`.
  void end_all(const std::vector<std::uint64_t>& order) {
    for (const std::uint64_t id : order) jobs_.push_back(leased_job(id, id));
    put(this->store(), jobs_);
    std::vector<JobUpdate> updates;
    for (const JobInsert& job : jobs_)
      updates.push_back(finish(job, JobState::done, updates.size() + 1));
    put(this->store(), jobs_, updates);
  }
  ResultsRead results(std::uint64_t from, std::size_t rows_max, std::size_t bytes_max = 1 << 20) {
    return this->query().results({.to = ConnectionId{3},
                                  .batch = BatchId{1},
                                  .from = FinishSeq{from},
                                  .rows_max = rows_max,
                                  .bytes_max = bytes_max});
  }
  /// All jobs of a walk over pages.
  std::vector<std::uint64_t> walk(List list) {
    std::vector<std::uint64_t> found;
    for (int pages = 0; pages < 1000; ++pages) {
      const auto page = this->query().page(list);
      EXPECT_LE(page.jobs.size(), list.limit);
      for (const auto id : ids(page.jobs)) found.push_back(id);
      if (page.next == 0) return found;
      list.after = page.next;
    }
    ADD_FAILURE() << "the walk does not end";
    return found;
  }
  std::vector<JobInsert> jobs_;
};
TYPED_TEST_SUITE(StoreQuery, Backends, BackendNames);

TYPED_TEST(StoreQuery, ResultsComeInTheOrderOfTheirEnd) {
  this->end_all({3, 1, 2});

  const auto read = this->results(0, 100);

  ASSERT_EQ(read.rows.size(), 3U);
  EXPECT_EQ(read.to, ConnectionId{3});
  EXPECT_EQ(read.batch, BatchId{1});
  EXPECT_EQ(read.rows[0].job, JobId{3});
  EXPECT_EQ(read.rows[0].cursor, FinishSeq{1});
  EXPECT_EQ(read.rows[0].kind, "sum");
  EXPECT_EQ(read.rows[0].state, JobState::done);
  EXPECT_EQ(read.rows[0].result, Payload::text("result 3"));
  EXPECT_EQ(read.rows[0].attempts, 1);
  EXPECT_EQ(read.rows[2].job, JobId{2});
  EXPECT_EQ(read.upto, FinishSeq{3});
}

TYPED_TEST(StoreQuery, ResultsGoOnWithoutGapOrRepeat) {
  this->end_all({5, 3, 1, 2, 4, 7, 6});
  std::vector<std::uint64_t> seen;

  std::uint64_t cursor = 0;
  for (int pages = 0; pages < 10; ++pages) {
    const auto read = this->results(cursor, 2);
    for (const auto& row : read.rows) seen.push_back(row.job.value);
    cursor = read.upto.value;
    if (read.rows.empty()) break;
  }

  EXPECT_THAT(seen, ElementsAre(5, 3, 1, 2, 4, 7, 6));
}

TYPED_TEST(StoreQuery, ResultsThatAreCompleteReachTheHighWaterMark) {
  this->end_all({1, 2});
  auto other = leased_job(10, 10);
  other.spec.batch = BatchId{10};
  put(this->store(), {other});
  put(this->store(), {other}, {finish(other, JobState::dead, 3)});

  EXPECT_EQ(this->results(0, 2).upto, FinishSeq{3});  // exactly full, and nothing beyond
  EXPECT_EQ(this->results(0, 1).upto, FinishSeq{1});
  EXPECT_EQ(this->results(3, 9).upto, FinishSeq{3});
}

TYPED_TEST(StoreQuery, ResultsAreBoundedInBytesButNeverEmpty) {
  this->end_all({1, 2, 3});

  EXPECT_EQ(this->results(0, 100, 1).rows.size(), 1U);
  EXPECT_EQ(this->results(0, 100, 12).rows.size(), 2U);
  EXPECT_EQ(this->results(0, 0, 0).rows.size(), 1U);
}

TYPED_TEST(StoreQuery, AResultTellsHowLongTheLastRunTook) {
  auto job = leased_job(1, 1);
  job.status.started_at = at(kEnqueuedAt + 100);
  put(this->store(), {job});
  put(this->store(), {job}, {finish(job, JobState::done, 1, 350)});

  EXPECT_EQ(this->results(0, 1).rows.at(0).elapsed, Duration{250});
}

/// Every second job of lane 2, every third dead, every tenth still ready, the others done.
std::vector<JobInsert> mixed_jobs(std::size_t jobs) {
  std::vector<JobInsert> mixed;
  for (std::size_t id = 1; id <= jobs; ++id) {
    JobInsert job = ready_job(id);
    job.spec.lane = LaneId{1 + id % 2};
    job.spec.batch = BatchId{id <= jobs / 2 ? 1 : jobs / 2 + 1};
    job.spec.enqueued_at = at(kEnqueuedAt + static_cast<std::int64_t>(id));
    if (id % 10 != 0) {
      job.status.state = id % 3 == 0 ? JobState::dead : JobState::done;
      job.status.finish_seq = FinishSeq{jobs - id + 1};
      job.status.finished_at = at(kEnqueuedAt + 1000 + static_cast<std::int64_t>(id));
    }
    mixed.push_back(job);
  }
  return mixed;
}

/// With the rows of both batches.
void put_mixed(Store& store, const std::vector<JobInsert>& jobs) {
  WriteBatch batch;
  batch.inserts = jobs;
  for (std::uint64_t id : {std::uint64_t{1}, std::uint64_t{jobs.size() / 2 + 1}})
    batch.batches.push_back({.id = BatchId{id}, .owner = {}, .total = jobs.size() / 2, .open = 1});
  count(batch);
  store.commit(batch);
}

template <class Matches>
std::vector<std::uint64_t> expected(const std::vector<JobInsert>& jobs, const Matches& matches) {
  std::vector<std::uint64_t> ids;
  for (const JobInsert& job : jobs)
    if (matches(job)) ids.push_back(job.id.value);
  return ids;
}

TYPED_TEST(StoreQuery, EveryFilterSelectsWhatItSays) {
  const auto jobs = mixed_jobs(100);
  put_mixed(this->store(), jobs);
  const auto is = [](JobState state) {
    return [state](const JobInsert& job) { return job.status.state == state; };
  };

  EXPECT_EQ(this->walk({.filter = {}, .limit = 7}), expected(jobs, [](auto&) { return true; }));
  EXPECT_EQ(this->walk({.filter = {.states = {JobState::dead}}, .limit = 7}),
            expected(jobs, is(JobState::dead)));
  EXPECT_EQ(this->walk({.filter = {.states = {JobState::ready}}, .limit = 3}),
            expected(jobs, is(JobState::ready)));
  EXPECT_EQ(this->walk({.filter = {.states = {JobState::leased, JobState::ready}}, .limit = 3}),
            expected(jobs, is(JobState::ready)));
  EXPECT_EQ(this->walk({.filter = {.queue = "mail"}, .limit = 7}),
            expected(jobs, [](const auto& job) { return job.spec.lane == LaneId{2}; }));
  EXPECT_EQ(this->walk({.filter = {.kind = "sum"}, .limit = 50}).size(), 100U);
  EXPECT_THAT(this->walk({.filter = {.queue = "none"}, .limit = 7}), IsEmpty());
  EXPECT_EQ(this->walk({.filter = {.batch = BatchId{51}}, .limit = 7}),
            expected(jobs, [](const auto& job) { return job.spec.batch == BatchId{51}; }));
  EXPECT_EQ(this->walk({.filter = {.batch = BatchId{51}, .ended = true}, .limit = 7}),
            expected(jobs, [](const auto& job) {
              return job.spec.batch == BatchId{51} && is_final(job.status.state);
            }));
  EXPECT_THAT(this->walk({.filter = {.ids = {JobId{9}, JobId{4}, JobId{200}, JobId{4}}}}),
              ElementsAre(4, 9));
  EXPECT_THAT(this->walk({.filter = {.ids = {JobId{10}, JobId{9}}, .ended = true}}),
              ElementsAre(9));
}

TYPED_TEST(StoreQuery, TimesAreThoseOfTheEndOrOfTheEnqueue) {
  put(this->store(), mixed_jobs(20));  // 10 and 20 are ready

  EXPECT_THAT(this->walk({.filter = {.since = at(kEnqueuedAt + 1017)}}), ElementsAre(17, 18, 19));
  EXPECT_THAT(this->walk({.filter = {.until = at(kEnqueuedAt + 1002)}}), ElementsAre(1, 2, 10, 20));
  EXPECT_THAT(
      this->walk({.filter = {.since = at(kEnqueuedAt + 20), .until = at(kEnqueuedAt + 1001)}}),
      ElementsAre(1, 20));
}

TYPED_TEST(StoreQuery, APageStaysBetweenAfterAndUpto) {
  put(this->store(), mixed_jobs(20));

  const auto page = this->query().page({.filter = {}, .after = 5, .upto = 8});
  EXPECT_THAT(ids(page.jobs), ElementsAre(6, 7, 8));
  EXPECT_EQ(page.next, 0U);
  EXPECT_EQ(page.highest, 20U);
}

TYPED_TEST(StoreQuery, NewestFirstGoesDown) {
  const auto jobs = mixed_jobs(20);
  put(this->store(), jobs);
  auto all = expected(jobs, [](auto&) { return true; });
  std::reverse(all.begin(), all.end());

  EXPECT_EQ(this->walk({.filter = {}, .limit = 6, .newest_first = true}), all);
  EXPECT_THAT(
      ids(this->query().page({.filter = {}, .after = 5, .limit = 2, .newest_first = true}).jobs),
      ElementsAre(4, 3));
  EXPECT_THAT(this->walk({.filter = {.states = {JobState::ready}}, .newest_first = true}),
              ElementsAre(20, 10));
}

TYPED_TEST(StoreQuery, APageHasPayloadsOnlyWhenAsked) {
  auto job = leased_job(1, 1);
  job.payload = Payload::text("in");
  put(this->store(), {job});
  put(this->store(), {job}, {finish(job, JobState::done, 1)});

  const auto without = this->query().page({.filter = {}}).jobs.at(0);
  const auto with = this->query().page({.filter = {}, .payloads = true}).jobs.at(0);

  EXPECT_TRUE(without.payload.empty());
  EXPECT_TRUE(without.result.empty());
  EXPECT_EQ(with.payload, Payload::text("in"));
  EXPECT_EQ(with.result, Payload::text("result 1"));
}

TYPED_TEST(StoreQuery, BatchesComeInPages) {
  WriteBatch batch;
  for (std::uint64_t id : {10, 20, 30})
    batch.batches.push_back({.id = BatchId{id}, .owner = {}, .total = id, .created_at = at(id)});
  this->store().commit(batch);
  List list{.what = ListWhat::batches, .filter = {}, .limit = 2};

  const auto first = this->query().page(list);
  list.after = first.next;
  const auto second = this->query().page(list);
  const auto newest = this->query().page(
      {.what = ListWhat::batches, .filter = {.since = at(20)}, .newest_first = true});

  ASSERT_EQ(first.batches.size(), 2U);
  EXPECT_EQ(first.batches[1].total, 20U);
  EXPECT_EQ(first.next, 20U);
  ASSERT_EQ(second.batches.size(), 1U);
  EXPECT_EQ(second.batches[0].batch, BatchId{30});
  EXPECT_EQ(second.next, 0U);
  ASSERT_EQ(newest.batches.size(), 2U);
  EXPECT_EQ(newest.batches[0].batch, BatchId{30});
}

TYPED_TEST(StoreQuery, AnItemShowsTheJobWithAllItsRuns) {
  auto job = leased_job(1, 1);
  job.status.worker = WorkerId{2};
  job.status.attempts = 1;
  job.spec.replay_of = JobId{77};
  WriteBatch batch;
  batch.inserts = {job};
  batch.workers = {{WorkerId{1}, "s", "first", "h", 1, at(1), {}},
                   {WorkerId{2}, "t", "second", "h", 1, at(1), {}}};
  batch.attempts = {{job.id, 1, WorkerId{1}, at(10), at(20), "nack", "no luck"}};
  count(batch);
  this->store().commit(batch);
  JobUpdate update = finish(job, JobState::done, 1, 40);
  update.status.started_at = at(kEnqueuedAt + 30);
  update.status.attempts = 2;
  put(this->store(), {job}, {update});

  const auto item = this->query().item({.job = job.id, .batch = {}});

  ASSERT_TRUE(item);
  ASSERT_EQ(item->job.size(), 1U);
  EXPECT_EQ(item->job[0].queue, "default");
  EXPECT_EQ(item->job[0].kind, "sum");
  EXPECT_EQ(item->job[0].worker, "second");
  EXPECT_EQ(item->job[0].replay_of, JobId{77});
  EXPECT_EQ(item->job[0].cursor, FinishSeq{1});
  ASSERT_EQ(item->attempts.size(), 2U);
  EXPECT_EQ(item->attempts[0].attempt, 1);
  EXPECT_EQ(item->attempts[0].worker, "first");
  EXPECT_EQ(item->attempts[0].outcome, "nack");
  EXPECT_EQ(item->attempts[0].error, "no luck");
  EXPECT_EQ(item->attempts[1].attempt, 2);
  EXPECT_EQ(item->attempts[1].worker, "second");
  EXPECT_EQ(item->attempts[1].outcome, "ack");
  EXPECT_EQ(item->attempts[1].started_at, at(kEnqueuedAt + 30));
  EXPECT_EQ(item->attempts[1].finished_at, at(kEnqueuedAt + 40));
}

TYPED_TEST(StoreQuery, AnItemCanBeABatchWithOrWithoutARow) {
  put(this->store(), {ready_job(1)});
  WriteBatch batch;
  batch.batches = {{.id = BatchId{9}, .owner = {}, .total = 4}};
  this->store().commit(batch);

  EXPECT_EQ(this->query().item({.job = {}, .batch = BatchId{9}})->batch.at(0).total, 4U);
  EXPECT_EQ(this->query().item({.job = {}, .batch = BatchId{1}})->batch.at(0).open, 1U);
  EXPECT_FALSE(this->query().item({.job = {}, .batch = BatchId{2}}));
  EXPECT_FALSE(this->query().item({.job = JobId{2}, .batch = {}}));
}

}  // namespace
}  // namespace millrace::broker::testing

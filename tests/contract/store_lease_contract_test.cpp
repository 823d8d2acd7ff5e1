// Which jobs are leased: what a start and the pages find after many leases, returns and ends.

#include <gmock/gmock.h>

#include <algorithm>
#include <utility>

#include "tests/contract/store_contract.h"
#include "tests/support/test_random.h"

namespace millrace::broker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

template <class Backend>
class StoreLeases : public StoreContract<Backend> {
 protected:
  void add(std::uint64_t id, LaneId lane, int priority) {
    JobInsert job = ready_job(id);
    job.spec.lane = lane;
    job.spec.priority = priority;
    jobs_.push_back(job);
    fresh_.push_back(job);
  }
  std::uint64_t jobs_count() const { return jobs_.size(); }
  JobInsert& job(std::uint64_t id) { return jobs_.at(id - 1); }
  /// Adds to the next commit that `id` is leased; for the first time, if it was not before.
  void lease(std::uint64_t id) {
    JobUpdate update = change(job(id), JobState::leased);
    update.status.lease = LeaseId{++lease_};
    update.status.worker = WorkerId{7};
    ++update.status.deliveries;
    update.plain = true;
    write(update);
  }
  void give_back(std::uint64_t id, JobState state) { write(change(job(id), state)); }
  void end(std::uint64_t id) {
    JobUpdate update = finish(job(id), JobState::done, ++seq_);
    update.plain = true;
    write(update);
  }
  void commit() {
    WriteBatch batch;
    batch.inserts = std::exchange(fresh_, {});
    batch.updates = std::exchange(updates_, {});
    count(batch, jobs_before_);
    this->store().commit(batch);
    jobs_before_ = jobs_;
  }

  /// The ids of the jobs in `state`, by lane where one is given.
  std::vector<std::uint64_t> expected(JobState state, LaneId lane = {}) const {
    std::vector<JobInsert> found;
    for (const JobInsert& job : jobs_)
      if (job.status.state == state && (!lane || job.spec.lane == lane)) found.push_back(job);
    std::stable_sort(found.begin(), found.end(), [&](const JobInsert& a, const JobInsert& b) {
      return state == JobState::leased ? a.status.lease < b.status.lease
                                       : a.spec.priority < b.spec.priority;
    });
    std::vector<std::uint64_t> ids(found.size());
    std::transform(found.begin(), found.end(), ids.begin(),
                   [](const JobInsert& job) { return job.id.value; });
    return ids;
  }
  /// All ready jobs of `lane`, loaded a few at a time.
  std::vector<std::uint64_t> ready(LaneId lane) {
    std::vector<std::uint64_t> all;
    LoadReady load{.lane = lane, .after_id = {}, .jobs_max = 3};
    for (bool end = false; !end;) {
      const auto loaded = this->template load<LoadedReady>(load);
      end = loaded.end;
      EXPECT_TRUE(end || loaded.jobs.size() == load.jobs_max);
      for (const std::uint64_t id : ids(loaded.jobs)) all.push_back(id);
      if (loaded.jobs.empty()) break;
      load.after_priority = loaded.jobs.back().spec.priority;
      load.after_id = loaded.jobs.back().id;
    }
    return all;
  }
  std::vector<std::uint64_t> page(std::vector<JobState> states) {
    std::vector<std::uint64_t> all;
    protocol::List list{.filter = {.states = std::move(states)}, .limit = 5};
    do {
      const auto page = this->query().page(list);
      for (const std::uint64_t id : ids(page.jobs)) all.push_back(id);
      list.after = page.next;
    } while (list.after != 0);
    return all;
  }
  static std::vector<std::uint64_t> sorted(std::vector<std::uint64_t> ids) {
    std::sort(ids.begin(), ids.end());
    return ids;
  }

 private:
  void write(const JobUpdate& update) {
    job(update.id.value).status = update.status;
    updates_.push_back(update);
  }

  std::vector<JobInsert> jobs_;
  std::vector<JobInsert> jobs_before_;  ///< as the store has them
  std::vector<JobInsert> fresh_;
  std::vector<JobUpdate> updates_;
  std::uint64_t lease_ = 0;
  std::uint64_t seq_ = 0;
};
TYPED_TEST_SUITE(StoreLeases, Backends, BackendNames);

TYPED_TEST(StoreLeases, LeasedJobsDoNotFillALoadOfReadyOnes) {
  for (std::uint64_t id = 1; id <= 20; ++id) this->add(id, kLane, 100);
  this->commit();
  for (std::uint64_t id = 1; id <= 15; ++id) this->lease(id);
  this->commit();

  const auto some =
      this->template load<LoadedReady>(LoadReady{.lane = kLane, .after_id = {}, .jobs_max = 4});
  const auto all =
      this->template load<LoadedReady>(LoadReady{.lane = kLane, .after_id = {}, .jobs_max = 5});

  EXPECT_THAT(ids(some.jobs), ElementsAre(16, 17, 18, 19));
  EXPECT_FALSE(some.end);
  EXPECT_THAT(ids(all.jobs), ElementsAre(16, 17, 18, 19, 20));
  EXPECT_TRUE(all.end);
}

TYPED_TEST(StoreLeases, ManyAtOnceAreEachWrittenAsOne) {
  for (std::uint64_t id = 1; id <= 40; ++id) this->add(id, LaneId{1 + id % 2}, 100);
  this->commit();
  for (const std::uint64_t id : {1, 2, 3, 9, 8, 20, 21, 22, 23}) this->lease(id);
  this->commit();

  for (const JobRecord& job : this->restart().leased) expect_same(this->job(job.id.value), job);
  EXPECT_THAT(this->page({JobState::leased}), ElementsAre(1, 2, 3, 8, 9, 20, 21, 22, 23));
}

TYPED_TEST(StoreLeases, OneThatIsNotReadyAmongManyIsABugAndNoneIsLeased) {
  for (std::uint64_t id = 1; id <= 9; ++id) this->add(id, kLane, 100);
  this->commit();
  this->lease(5);
  this->commit();
  this->job(5) = ready_job(5);
  for (std::uint64_t id = 1; id <= 9; ++id) this->lease(id);

  EXPECT_EQ(thrown_code([&] { this->commit(); }), ErrorCode::internal);

  EXPECT_THAT(ids(this->restart().leased), ElementsAre(5));
  EXPECT_THAT(this->page({JobState::leased}), ElementsAre(5));
}

TYPED_TEST(StoreLeases, JobsOfAllSortsAreInsertedTogether) {
  std::vector<JobInsert> jobs;
  for (std::uint64_t id = 1; id <= 50; ++id) {
    jobs.push_back(id % 7 == 0 ? leased_job(id, id) : ready_job(id));
    JobInsert& job = jobs.back();
    job.spec.lane = LaneId{1 + id % 2};
    job.spec.priority = static_cast<int>(id % 3);
    job.spec.timeout = Duration{static_cast<std::int64_t>(id)};
    job.spec.absolute = id % 4 == 0;
    job.payload = Payload::text(std::string(id, 'x'));
    if (id % 11 == 0) job.spec.retry = "1s";
    if (id % 13 == 0) job.spec.expires_at = at(kEnqueuedAt + 5);
  }
  put(this->store(), jobs);

  LoadJobs load{.ids = {}, .payloads = true};
  for (const JobInsert& job : jobs) load.ids.push_back(job.id);
  const auto loaded = this->template load<LoadedJobs>(load);

  ASSERT_EQ(loaded.jobs.size(), jobs.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) expect_same(jobs[i], loaded.jobs[i]);
  EXPECT_THAT(this->page({JobState::leased}), ElementsAre(7, 14, 21, 28, 35, 42, 49));
}

TYPED_TEST(StoreLeases, AreFoundAfterManyReturnsEndsAndStarts) {
  for (const std::uint64_t seed : test_seeds(5)) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TestRandom random(seed);
    std::uint64_t jobs = this->jobs_count();
    for (int round = 0; round < 80; ++round) {
      const std::uint64_t known = jobs;
      for (std::uint64_t n = random.below(20); n > 0; --n)
        this->add(++jobs, LaneId{1 + random.below(2)}, static_cast<int>(random.below(3)));
      for (std::uint64_t id = 1; id <= known; ++id) {
        const JobState state = this->job(id).status.state;
        if (state == JobState::ready && random.chance(30)) {
          this->lease(id);
        } else if (state == JobState::scheduled && random.chance(30)) {
          this->give_back(id, JobState::ready);
        } else if (state == JobState::leased && random.chance(50)) {
          if (random.chance(60))
            this->end(id);
          else
            this->give_back(id, random.chance(50) ? JobState::ready : JobState::scheduled);
        }
      }
      this->commit();
      if (random.chance(10)) {
        ASSERT_EQ(ids(this->restart().leased), this->expected(JobState::leased));
      }
    }
    for (const LaneId lane : {LaneId{1}, LaneId{2}})
      EXPECT_EQ(this->ready(lane), this->expected(JobState::ready, lane));
    const auto ready = this->sorted(this->expected(JobState::ready));
    const auto leased = this->sorted(this->expected(JobState::leased));
    auto both = ready;
    both.insert(both.end(), leased.begin(), leased.end());
    EXPECT_EQ(this->page({JobState::ready}), ready);
    EXPECT_EQ(this->page({JobState::leased}), leased);
    EXPECT_EQ(this->page({JobState::leased, JobState::ready}), this->sorted(both));
    EXPECT_EQ(ids(this->restart().leased), this->expected(JobState::leased));
  }
}

}  // namespace
}  // namespace millrace::broker::testing

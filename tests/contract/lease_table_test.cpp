// The leases in the file of SqliteStore: what is written, what is left, and what a commit that is
// applied twice makes of them.

#include "broker/store/lease_table.h"

#include <gmock/gmock.h>

#include "broker/store/file_check.h"
#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class LeaseTableFile : public ::testing::Test {
 protected:
  std::unique_ptr<SqliteStore> start() const {
    auto store = std::make_unique<SqliteStore>(fast_options(path_));
    leased_ = store->start().leased;
    return store;
  }
  std::unique_ptr<SqliteStore> start_with(std::vector<JobInsert> jobs) const {
    auto store = start();
    WriteBatch batch;
    batch.lanes = {{kLane, "default", "sum", {}}};
    batch.inserts = std::move(jobs);
    count(batch);
    store->commit(batch);
    return store;
  }
  std::int64_t number(const char* sql) const {
    return sqlite::Connection(path_, sqlite::Access::read, {}).integer(sql);
  }
  std::size_t rows() const {
    return static_cast<std::size_t>(number("SELECT count(*) FROM lease"));
  }
  std::int64_t statuses() const { return number("SELECT count(*) FROM status"); }
  /// Without what the missing workers and batches of these rows make of them.
  std::vector<std::string> violations() const {
    std::vector<std::string> rules;
    check_file(path_, {.rows = {}, .on_job = {}}, [&](const Violation& violation) {
      if (violation.rule == "waiting" || violation.rule == "status")
        rules.push_back(violation.text);
    });
    return rules;
  }
  static JobUpdate first_lease(const JobInsert& job, std::uint64_t lease) {
    JobUpdate update = change(job, JobState::leased);
    update.status.lease = LeaseId{lease};
    update.status.worker = WorkerId{7};
    update.status.deliveries = 1;
    update.plain = true;
    return update;
  }
  static JobUpdate done(const JobInsert& job, std::uint64_t seq) {
    JobUpdate update = finish(job, JobState::done, seq);
    update.plain = true;
    return update;
  }

  TempFolder folder_;
  std::string path_ = folder_.file("jobs.db");
  mutable std::vector<JobRecord> leased_;  ///< as the last start found them
};

TEST_F(LeaseTableFile, AFirstLeaseIsOneRowAndNothingElse) {
  const auto store = start_with({ready_job(1), leased_job(2, 8)});
  put(*store, {ready_job(1)}, {first_lease(ready_job(1), 9)});

  EXPECT_EQ(statuses(), 0);
  EXPECT_EQ(rows(), 2U);
  EXPECT_EQ(number("SELECT count(*) FROM ready"), 0);
  EXPECT_EQ(number("SELECT deliveries FROM jobs WHERE id = 1 AND state = 'leased'"), 1);
  EXPECT_EQ(number("SELECT deliveries FROM jobs WHERE id = 2 AND state = 'leased'"), 1);
}

TEST_F(LeaseTableFile, AFirstLeaseOfAJobWithAStatusIsFoundToo) {
  auto job = scheduled_job(1, 50);
  auto store = start_with({job});
  JobUpdate due = change(job, JobState::ready);
  due.plain = true;
  put(*store, {job}, {due});
  job.status = due.status;
  put(*store, {job}, {first_lease(job, 9)});
  const std::vector<JobInsert> leased = {[&] {
    JobInsert one = job;
    one.status = first_lease(job, 9).status;
    return one;
  }()};
  store.reset();

  store = start();

  ASSERT_THAT(ids(leased_), ElementsAre(1));
  expect_same(leased[0], leased_[0]);
  EXPECT_THAT(violations(), IsEmpty());
  put(*store, leased, {done(leased[0], 1)});
  EXPECT_EQ(number("SELECT count(*) FROM jobs WHERE state = 'done' AND deliveries = 1"), 1);
  EXPECT_THAT(violations(), IsEmpty());
}

TEST_F(LeaseTableFile, AStartThatWasWrittenIsOverwrittenByTheEnd) {
  auto job = leased_job(1, 9);
  const auto store = start_with({job});
  JobUpdate started = change(job, JobState::leased);
  started.status.started_at = at(kEnqueuedAt + 5);
  put(*store, {job}, {started});
  job.status = started.status;
  EXPECT_EQ(number("SELECT started_at FROM status"), kEnqueuedAt + 5);

  put(*store, {job}, {done(job, 1)});

  EXPECT_EQ(statuses(), 1);
  EXPECT_EQ(number("SELECT count(*) FROM jobs WHERE state = 'done' AND started_at IS NOT NULL"), 1);
}

TEST_F(LeaseTableFile, ALeaseThatIsOverEndsNothing) {
  const auto job = leased_job(1, 9);
  auto store = start_with({job});
  JobUpdate back = change(job, JobState::ready);
  put(*store, {job}, {back});

  EXPECT_EQ(thrown_code([&] { put(*store, {job}, {done(job, 1)}); }), ErrorCode::internal);
  store.reset();
  store = start();
  EXPECT_THAT(leased_, IsEmpty());
  EXPECT_EQ(thrown_code([&] { put(*store, {job}, {done(job, 1)}); }), ErrorCode::internal);
}

TEST_F(LeaseTableFile, AJobThatIsNotAmongTheReadyOnesIsNotLeased) {
  const auto store = start_with({ready_job(1), ready_job(2), ready_job(3)});
  sqlite::Connection(path_, sqlite::Access::write, {})
      .execute("UPDATE ready SET last = 1; INSERT INTO ready VALUES (1, 100, 3, 3)");
  std::vector<JobInsert> jobs = {ready_job(1), ready_job(2), ready_job(3)};

  EXPECT_EQ(thrown_code([&] {
              put(*store, jobs,
                  {first_lease(jobs[0], 7), first_lease(jobs[1], 8), first_lease(jobs[2], 9)});
            }),
            ErrorCode::internal);
  EXPECT_EQ(rows(), 0U);
}

TEST_F(LeaseTableFile, RetentionTakesTheRowsOfAllTables) {
  const auto store = start_with({leased_job(1, 9), ready_job(2)});
  put(*store, {leased_job(1, 9)}, {done(leased_job(1, 9), 1)});

  store->load(prune_by_age(at(kEnqueuedAt + 5000)));

  EXPECT_EQ(number("SELECT group_concat(id) FROM job"), 2);
  EXPECT_EQ(statuses(), 0);
  EXPECT_EQ(rows(), 0U);
}

TEST_F(LeaseTableFile, StaysShortHoweverManyJobsAreLeased) {
  constexpr std::size_t kAtOnce = 3;
  const auto store = start_with({});
  std::size_t longest = 0;

  for (std::uint64_t id = 1; id <= 200; ++id) {
    WriteBatch batch;
    batch.inserts = {leased_job(id, id)};
    std::vector<JobInsert> known;
    if (id > kAtOnce) {
      known = {leased_job(id - kAtOnce, id - kAtOnce)};
      batch.updates = {finish(known[0], JobState::done, id)};
    }
    count(batch, known);
    store->commit(batch);
    longest = std::max(longest, rows());
  }

  EXPECT_LE(longest, kAtOnce + std::max(kAtOnce, fast_options(path_).lease_rows_slack));
  EXPECT_GT(longest, kAtOnce);
  EXPECT_EQ(number("SELECT count(*) FROM jobs WHERE state = 'leased'"), std::int64_t{kAtOnce});
}

TEST_F(LeaseTableFile, AStartKnowsHowLongItIs) {
  std::size_t longest = 0;
  start_with({}).reset();

  for (std::uint64_t id = 1; id <= 60; ++id) {
    const auto store = start();
    WriteBatch batch;
    batch.inserts = {leased_job(id, id)};
    batch.updates = {finish(batch.inserts[0], JobState::done, id)};
    count(batch);
    store->commit(batch);
    EXPECT_THAT(leased_, IsEmpty());
    longest = std::max(longest, rows());
  }

  EXPECT_LE(longest, fast_options(path_).lease_rows_slack);
}

TEST(LeaseTable, ForgetsWhatARolledBackTransactionSaid) {
  const TempFolder folder;
  SqliteStore(fast_options(folder.file("jobs.db"))).start();
  const sqlite::Connection connection(folder.file("jobs.db"), sqlite::Access::write, {});
  LeaseTable leases(connection, 4);
  leases.begin();
  leases.add(JobId{1}, {LeaseId{1}, WorkerId{1}}, true);
  leases.add(JobId{2}, {LeaseId{2}, WorkerId{1}}, true);
  leases.write();
  leases.committed();

  leases.begin();
  leases.remove(JobId{1});
  leases.add(JobId{2}, {LeaseId{3}, WorkerId{1}}, false);
  leases.add(JobId{2}, {LeaseId{4}, WorkerId{1}}, false);
  leases.add(JobId{3}, {LeaseId{5}, WorkerId{1}}, true);
  leases.begin();

  EXPECT_TRUE(leases.holds(JobId{1}, LeaseId{1}));
  EXPECT_TRUE(leases.holds(JobId{2}, LeaseId{2}));
  EXPECT_FALSE(leases.is_leased(JobId{3}));
}

}  // namespace
}  // namespace millrace::broker::testing

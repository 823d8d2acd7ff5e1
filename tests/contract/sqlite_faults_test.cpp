// SqliteStore on disks that fail: full, broken, swapped, and with flipped bits.

#include <gmock/gmock.h>
#include <sqlite3.h>

#include <filesystem>
#include <thread>

#include "tests/contract/fault_vfs.h"
#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class SqliteFaults : public ::testing::Test {
 protected:
  ~SqliteFaults() override { vfs_faults() = {}; }

  std::unique_ptr<SqliteStore> open(std::size_t ballast_bytes = 0) {
    auto options = fast_options(path_);
    options.synchronous = 2;
    options.vfs = fault_vfs();
    options.ballast_bytes = ballast_bytes;
    options.log_reserve_bytes = 0;
    return std::make_unique<SqliteStore>(options);
  }
  std::unique_ptr<SqliteStore> start(std::size_t ballast_bytes = 0) {
    auto store = open(ballast_bytes);
    const Snapshot snapshot = store->start();
    WriteBatch batch;
    if (snapshot.lanes.empty()) batch.lanes = {{kLane, "default", "sum", {}}};
    store->commit(batch);
    return store;
  }
  void execute(const std::string& sql) const {
    sqlite3* handle = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &handle), SQLITE_OK);
    char* error = nullptr;
    EXPECT_EQ(sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, &error), SQLITE_OK) << error;
    sqlite3_close(handle);
  }
  TempFolder folder_;
  std::string path_ = folder_.file("jobs.db");
};

TEST_F(SqliteFaults, AFullDiskIsMetWithTheBallast) {
  constexpr std::size_t kBallast = 64 * kKiB;
  const std::string ballast = path_ + ".ballast";
  auto store = start(kBallast);
  ASSERT_EQ(fs::file_size(ballast), kBallast);
  vfs_faults().full_while_exists = ballast;

  put(*store, {ready_job(1)});
  EXPECT_FALSE(fs::exists(ballast));
  put(*store, {ready_job(2)});
  vfs_faults().full = true;
  EXPECT_EQ(thrown_code([&] { put(*store, {ready_job(3)}); }), ErrorCode::storage_failed);
  EXPECT_THROW(store->maintain(), StoreError);

  store.reset();
  vfs_faults() = {};
  EXPECT_EQ(open()->start().last_job, JobId{2});
}

TEST_F(SqliteFaults, LeasesAndEndsThatMetAFullDiskAreAppliedAgain) {
  auto store = start(64 * kKiB);
  const std::vector<JobInsert> jobs = {leased_job(1, 7), ready_job(2), leased_job(3, 8)};
  put(*store, jobs);
  vfs_faults().full_while_exists = path_ + ".ballast";
  JobUpdate end = finish(jobs[0], JobState::done, 1);
  end.plain = true;
  JobUpdate lease = change(jobs[1], JobState::leased);
  lease.status.lease = LeaseId{9};
  lease.status.deliveries = 1;
  lease.plain = true;

  put(*store, jobs, {end, lease, change(jobs[2], JobState::ready)});

  EXPECT_FALSE(fs::exists(path_ + ".ballast"));
  store.reset();
  store = open();
  EXPECT_THAT(ids(store->start().leased), ::testing::ElementsAre(2));
  const LoadReady load{.lane = kLane, .after_id = {}, .jobs_max = 9};
  EXPECT_THAT(ids(std::get<LoadedReady>(store->load(load)).jobs), ::testing::ElementsAre(3));
}

TEST_F(SqliteFaults, TheBallastComesBackWhenThereIsRoom) {
  auto store = start(64 * kKiB);
  fs::remove(path_ + ".ballast");
  store.reset();

  store = start(64 * kKiB);

  EXPECT_TRUE(fs::exists(path_ + ".ballast"));
}

TEST_F(SqliteFaults, AFailedFsyncIsTheEnd) {
  auto store = start();
  put(*store, {ready_job(1)});
  vfs_faults().syncs_until_failure = 1;

  EXPECT_EQ(thrown_code([&] { put(*store, {ready_job(2)}); }), ErrorCode::storage_failed);
  EXPECT_THROW(put(*store, {ready_job(3)}), StoreError);
  EXPECT_THROW(store->maintain(), StoreError);
  EXPECT_THROW(static_cast<void>(store->load(LoadBatch{BatchId{1}})), StoreError);

  store.reset();
  store = open();
  const Snapshot snapshot = store->start();
  EXPECT_GE(snapshot.last_job, JobId{1});
  EXPECT_LE(snapshot.last_job, JobId{2});
}

TEST_F(SqliteFaults, AFileThatWasSwappedIsNoticed) {
  auto store = start();
  store->maintain();
  fs::rename(path_, folder_.file("moved.db"));
  fs::copy_file(folder_.file("moved.db"), path_);

  // The path is looked at once a second.
  std::optional<ErrorCode> code;
  for (int tries = 0; tries < 30 && !code; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    try {
      store->maintain();
    } catch (const StoreError& error) {
      code = error.code();
      EXPECT_THAT(error.what(), HasSubstr("moved, replaced or deleted"));
    }
  }

  EXPECT_EQ(code, ErrorCode::storage_failed);
}

class SqliteDamage : public SqliteFaults {
 protected:
  /// Job 1 is ready, job 2 is done; then `sql` changes the file behind the store's back.
  void damage(const std::string& sql) {
    auto job = leased_job(2, 2);
    auto ready = ready_job(1);
    ready.payload = job.payload = Payload::text("payload");
    auto store = start();
    put(*store, {ready, job});
    put(*store, {job}, {finish(job, JobState::done, 1)});
    store.reset();
    execute(sql);
    store_ = start();
  }
  template <class Act>
  void expect_corrupt(const Act& act, const std::string& job) {
    try {
      act();
      ADD_FAILURE() << "the damage was not noticed";
    } catch (const StoreError& error) {
      EXPECT_EQ(error.code(), ErrorCode::corrupt);
      EXPECT_THAT(error.what(), HasSubstr("job " + job));
    }
  }
  std::unique_ptr<SqliteStore> store_;
};

TEST_F(SqliteDamage, AFlippedBitInAPayloadIsFoundByALoad) {
  damage("UPDATE job SET payload = 'qayload' WHERE id = 1");

  expect_corrupt(
      [&] {
        static_cast<void>(store_->load(LoadReady{.lane = kLane, .after_id = {}, .jobs_max = 9}));
      },
      "1");
}

TEST_F(SqliteDamage, AFlippedBitInAPayloadIsFoundWhenItIsRead) {
  damage("UPDATE job SET payload = 'qayload' WHERE id = 1");
  const std::vector<JobId> ids = {JobId{1}};

  expect_corrupt([&] { static_cast<void>(store_->payloads(ids)); }, "1");
}

TEST_F(SqliteDamage, AFlippedBitInTheSpecIsFound) {
  damage("UPDATE job SET priority = 101 WHERE id = 1");

  expect_corrupt([&] { static_cast<void>(store_->load(LoadJobs{.ids = {JobId{1}}})); }, "1");
}

TEST_F(SqliteDamage, ATextThatBecameBytesIsFound) {
  damage("UPDATE job SET payload = CAST(payload AS BLOB) WHERE id = 1");

  expect_corrupt([&] { static_cast<void>(store_->load(LoadJobs{.ids = {JobId{1}}})); }, "1");
}

TEST_F(SqliteDamage, AFlippedBitInAResultIsFoundByEveryQuery) {
  damage("UPDATE status SET result = 'sesult 2' WHERE id = 2");
  SqliteQuery query({.path = path_});

  expect_corrupt([&] { static_cast<void>(query.item({.job = JobId{2}, .batch = {}})); }, "2");
  expect_corrupt([&] { static_cast<void>(query.page({.filter = {}, .payloads = true})); }, "2");
  EXPECT_EQ(query.page({.filter = {}}).jobs.size(), 2U);  // nothing of it is shown
}

TEST_F(SqliteDamage, ADamagedResultIsReplacedByAnErrorAndTheStreamGoesOn) {
  damage("UPDATE status SET result = 'sesult 2' WHERE id = 2");
  SqliteQuery query({.path = path_});

  const auto read =
      query.results({.to = {}, .batch = BatchId{1}, .from = {}, .rows_max = 9, .bytes_max = 1000});

  ASSERT_EQ(read.rows.size(), 1U);
  EXPECT_TRUE(read.rows[0].result.empty());
  EXPECT_THAT(read.rows[0].error, HasSubstr("result of job 2"));
  EXPECT_EQ(read.upto, FinishSeq{1});
}

}  // namespace
}  // namespace millrace::broker::testing

// The database file of SqliteStore: who may open it, how it is set up, and what people see in it.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "broker/store/schema.h"
#include "broker/store/sqlite_settings.h"
#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

using Row = std::vector<std::string>;

class SqliteFile : public ::testing::Test {
 protected:
  std::unique_ptr<SqliteStore> open() const {
    return std::make_unique<SqliteStore>(fast_options(path_));
  }
  std::string refusal(ErrorCode code) const {
    try {
      open();
    } catch (const StoreError& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "it was opened";
    return {};
  }
  /// As `sqlite3 -readonly` would; the first row has the names of the columns.
  std::vector<Row> select(const std::string& sql) const { return run(sql, SQLITE_OPEN_READONLY); }
  void change(const std::string& sql) const {
    run(sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  }
  std::vector<Row> run(const std::string& sql, int flags) const {
    sqlite3* handle = nullptr;
    EXPECT_EQ(sqlite3_open_v2(path_.c_str(), &handle, flags, nullptr), SQLITE_OK);
    std::vector<Row> rows;
    const auto take = [](void* out, int columns, char** values, char** names) {
      auto& all = *static_cast<std::vector<Row>*>(out);
      if (all.empty()) all.emplace_back(names, names + columns);
      all.emplace_back();
      for (int i = 0; i < columns; ++i)
        all.back().emplace_back(values[i] == nullptr ? "NULL" : values[i]);
      return 0;
    };
    EXPECT_EQ(sqlite3_exec(handle, sql.c_str(), take, &rows, nullptr), SQLITE_OK)
        << sqlite3_errmsg(handle);
    sqlite3_close(handle);
    return rows;
  }
  std::string content() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void fill() const { std::ofstream(path_) << "Dear diary, today nothing happened. " << path_; }

  TempFolder folder_;
  std::string path_ = folder_.file("jobs.db");
};

TEST_F(SqliteFile, ASecondStoreIsLockedOutAndToldByWhom) {
  const auto first = open();

  const std::string message = refusal(ErrorCode::store_locked);

  EXPECT_THAT(message, HasSubstr(path_));
  EXPECT_THAT(message, HasSubstr("pid " + std::to_string(getpid())));
}

TEST_F(SqliteFile, TheLockEndsWithTheStore) {
  open().reset();
  EXPECT_NO_THROW(open());
}

TEST_F(SqliteFile, DatabasesInOneFolderDoNotLockEachOther) {
  const auto first = open();
  EXPECT_NO_THROW(SqliteStore(fast_options(folder_.file("other.db"))));
}

TEST_F(SqliteFile, AFileOfSomethingElseIsRefusedAndUntouched) {
  fill();
  const std::string before = content();

  EXPECT_THAT(refusal(ErrorCode::foreign_file), HasSubstr("not a millrace database"));

  EXPECT_EQ(content(), before);
}

TEST_F(SqliteFile, ADatabaseOfSomethingElseIsRefusedAndUntouched) {
  change("PRAGMA application_id = 42; CREATE TABLE t (a); INSERT INTO t VALUES (1)");
  const std::string before = content();

  refusal(ErrorCode::foreign_file);

  EXPECT_EQ(content(), before);
  EXPECT_FALSE(fs::exists(path_ + "-wal"));
}

TEST_F(SqliteFile, ANewerFormatIsRefusedAndUntouched) {
  open().reset();
  change("PRAGMA user_version = 99");
  const std::string before = content();

  EXPECT_THAT(refusal(ErrorCode::foreign_file), HasSubstr("format 99"));

  EXPECT_EQ(content(), before);
}

TEST_F(SqliteFile, AnEmptyFileIsTakenAsANewOne) {
  std::ofstream(path_).close();
  EXPECT_NO_THROW(open()->start());
}

TEST_F(SqliteFile, AMissingFolderIsNamed) {
  path_ = folder_.file("no/such/jobs.db");
  EXPECT_THAT(refusal(ErrorCode::storage_failed), HasSubstr("no/such"));
}

TEST_F(SqliteFile, AMissingFileIsOnlyMadeWhenAskedFor) {
  auto options = fast_options(path_);
  options.create = false;

  EXPECT_EQ(thrown_code([&] { SqliteStore store(options); }), ErrorCode::storage_failed);
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(SqliteFile, AReadOnlyFileIsRefused) {
  open().reset();
  fs::permissions(path_, fs::perms::owner_read);
  // Root may write everything, so this runs as somebody else then.
  const bool root = geteuid() == 0;
  if (root) {
    ASSERT_EQ(chown(path_.c_str(), 65534, 65534), 0);
    ASSERT_EQ(chown(fs::path(path_).parent_path().c_str(), 65534, 65534), 0);
    ASSERT_EQ(chown((path_ + ".LOCK").c_str(), 65534, 65534), 0);
    ASSERT_EQ(seteuid(65534), 0);
  }

  EXPECT_THAT(refusal(ErrorCode::storage_failed), HasSubstr("read-only"));

  if (root) {
    ASSERT_EQ(seteuid(0), 0);
  }
}

TEST_F(SqliteFile, RelativePathsAndLinkedFoldersWork) {
  fs::create_directory(folder_.file("real"));
  fs::create_directory_symlink(folder_.file("real"), folder_.file("link"));
  const fs::path before = fs::current_path();
  fs::current_path(folder_.file("link"));

  EXPECT_NO_THROW(SqliteStore(fast_options("jobs.db")).start());

  fs::current_path(before);
  EXPECT_TRUE(fs::exists(folder_.file("real/jobs.db")));
}

TEST_F(SqliteFile, AFileWithTwoNamesIsRefusedUnderEither) {
  open().reset();
  fs::create_hard_link(path_, folder_.file("other.db"));

  EXPECT_THAT(refusal(ErrorCode::storage_failed), HasSubstr("hard links"));
  EXPECT_EQ(thrown_code([&] { SqliteStore(fast_options(folder_.file("other.db"))); }),
            ErrorCode::storage_failed);
  EXPECT_FALSE(fs::exists(folder_.file("other.db-wal")));
}

TEST_F(SqliteFile, ASettingThatDoesNotTakeIsRefused) {
  change("PRAGMA page_size = 8192; CREATE TABLE t (a); DROP TABLE t; PRAGMA application_id = " +
         std::to_string(kApplicationId));

  const std::string message = refusal(ErrorCode::storage_failed);

  EXPECT_THAT(message, HasSubstr("page_size"));
  EXPECT_THAT(message, HasSubstr("4096"));
  EXPECT_THAT(message, HasSubstr("8192"));
}

TEST_F(SqliteFile, TheCheckNamesWhatItWantedAndGot) {
  const sqlite::Connection connection(path_, sqlite::Access::create, {});
  try {
    check_setting(connection, "cache_size", "7");
    ADD_FAILURE();
  } catch (const StoreError& error) {
    EXPECT_THAT(error.what(), HasSubstr("PRAGMA cache_size must be 7"));
  }
}

TEST_F(SqliteFile, ACleanStopLeavesOneFileAndNoLog) {
  auto store = open();
  store->start();
  EXPECT_TRUE(fs::exists(path_ + "-wal"));

  store.reset();

  EXPECT_FALSE(fs::exists(path_ + "-wal"));
  EXPECT_EQ(select("SELECT clean FROM meta")[1], Row{"1"});
}

TEST_F(SqliteFile, TheLogIsWrittenOverAgain) {
  auto options = fast_options(path_);
  options.log_passive_bytes = 256 * kKiB;
  SqliteStore store(options);
  store.start();
  WriteBatch lanes;
  lanes.lanes = {{kLane, "default", "sum", {}}};
  store.commit(lanes);

  for (std::uint64_t id = 1; id <= 200; ++id) {
    auto job = ready_job(id);
    job.payload = Payload::text(std::string(10'000, 'x'));
    put(store, {job});
    store.maintain();
  }

  EXPECT_LT(fs::file_size(path_ + "-wal"), 1 * kMiB);
}

TEST_F(SqliteFile, AReaderThatStaysDoesNotHoldUpTheStore) {
  auto options = fast_options(path_);
  options.log_passive_bytes = 64 * kKiB;
  options.log_restart_bytes = 128 * kKiB;
  options.log_truncate_bytes = 256 * kKiB;
  SqliteStore store(options);
  store.start();
  WriteBatch lanes;
  lanes.lanes = {{kLane, "default", "sum", {}}};
  store.commit(lanes);
  sqlite3* reader = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &reader), SQLITE_OK);
  sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM job", nullptr, nullptr, nullptr);
  const auto start = std::chrono::steady_clock::now();

  for (std::uint64_t id = 1; id <= 100; ++id) {
    auto job = ready_job(id);
    job.payload = Payload::text(std::string(10'000, 'x'));
    put(store, {job});
    store.maintain();
  }

  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  sqlite3_close(reader);
}

TEST_F(SqliteFile, EveryLoadUsesItsIndex) {
  open().reset();
  const auto plan = [&](const std::string& sql) {
    std::string text;
    for (const Row& row : select("EXPLAIN QUERY PLAN " + sql)) text += row.back() + "\n";
    return text;
  };

  const std::string ready = plan(
      "SELECT * FROM ready CROSS JOIN job ON job.id BETWEEN max(ready.first, 6) AND ready.last "
      "WHERE ready.lane = 1 AND (ready.priority, ready.last) > (100, 5) "
      "ORDER BY ready.priority, ready.last, job.id");
  const std::string due =
      plan("SELECT * FROM status WHERE state = 1 AND run_at = 9 AND id > 5 ORDER BY id");
  const std::string later =
      plan("SELECT * FROM status WHERE state = 1 AND run_at > 9 ORDER BY run_at, id");
  const std::string ended =
      plan("SELECT * FROM status WHERE batch = 1 AND finish_seq > 7 ORDER BY finish_seq");
  const std::string live = plan("SELECT * FROM batch WHERE sealed = 0 OR open > 0 ORDER BY id");

  EXPECT_THAT(ready, HasSubstr("PRIMARY KEY (lane=? AND (priority,last)>(?,?))"));
  EXPECT_THAT(due, HasSubstr("INDEX status_scheduled (run_at=? AND rowid>?)"));
  EXPECT_THAT(later, HasSubstr("INDEX status_scheduled (run_at>?)"));
  EXPECT_THAT(ended, HasSubstr("INDEX status_ended (batch=? AND finish_seq>?)"));
  EXPECT_THAT(ready + due + later + ended, Not(HasSubstr("TEMP B-TREE")));
  EXPECT_THAT(live, HasSubstr("batch_live"));
}

TEST_F(SqliteFile, AStoreWhoseEpochIsOverWritesNothing) {
  auto store = open();
  store->start();
  change("UPDATE meta SET epoch = epoch + 1");
  WriteBatch batch;
  batch.last_job = JobId{9};

  EXPECT_EQ(thrown_code([&] { store->commit(batch); }), ErrorCode::store_locked);

  EXPECT_EQ(select("SELECT last_job FROM meta")[1], Row{"0"});
}

TEST_F(SqliteFile, ACommitWaitsForSomebodyWhoWritesByHand) {
  auto store = open();
  store->start();
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  std::jthread release([other] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr);
  });
  WriteBatch batch;
  batch.last_job = JobId{9};

  EXPECT_NO_THROW(store->commit(batch));

  release.join();
  sqlite3_close(other);
}

TEST_F(SqliteFile, WhatWasCommittedIsThereAfterAKill) {
  auto store = open();
  store->start();
  WriteBatch batch;
  batch.lanes = {{kLane, "default", "sum", {}}};
  store->commit(batch);
  put(*store, {ready_job(1), ready_job(2)});
  // What is on the disk at this moment.
  for (const char* suffix : {"", "-wal"})
    fs::copy_file(path_ + suffix, folder_.file("killed.db") + suffix);

  SqliteStore after(fast_options(folder_.file("killed.db")));
  const Snapshot snapshot = after.start();

  EXPECT_EQ(snapshot.epoch, 2U);
  EXPECT_EQ(snapshot.last_job, JobId{2});
  EXPECT_EQ(snapshot.lanes.at(0).counts[2], 2U);
}

TEST_F(SqliteFile, AWorkerWhoseEndWasNeverWrittenIsForgottenOneDay) {
  auto store = open();
  store->start();
  WriteBatch batch;
  batch.workers = {{WorkerId{1}, "s", "killed", "h", 1, at(1), {}}};
  store->commit(batch);
  store.reset();
  store = open();
  store->start();
  batch.workers = {{WorkerId{2}, "t", "connected", "h", 1, at(1), {}}};
  store->commit(batch);

  const Time far = at(4'000'000'000'000);
  static_cast<void>(store->load(Prune{.finished_before = far, .from = {}, .jobs_max = 9}));

  const auto rows = select("SELECT name FROM worker");
  EXPECT_THAT(rows, ElementsAre(Row{"name"}, Row{"connected"}));
}

TEST_F(SqliteFile, APageThatTakesTooLongComesBackShorter) {
  auto store = open();
  store->start();
  WriteBatch batch;
  batch.lanes = {{kLane, "default", "sum", {}}};
  store->commit(batch);
  std::vector<JobInsert> jobs;
  for (std::uint64_t id = 1; id <= 2000; ++id) jobs.push_back(ready_job(id));
  jobs.back().spec.priority = 0;
  jobs.back().status = finish(jobs.back(), JobState::dead, 1).status;
  put(*store, jobs);
  SqliteQuery query({.path = path_, .page_time_max = Duration{0}});
  protocol::List list{.filter = {.states = {JobState::dead}}};

  std::size_t pages = 0;
  std::vector<std::uint64_t> found;
  do {
    const auto page = query.page(list);
    for (const auto id : ids(page.jobs)) found.push_back(id);
    list.after = page.next;
    ++pages;
  } while (list.after != 0 && pages < 100);

  EXPECT_THAT(found, ElementsAre(2000));
  EXPECT_GT(pages, 5U);
  EXPECT_LT(pages, 100U);
}

class SqliteViews : public SqliteFile {
 protected:
  SqliteViews() : store_(open()) {
    store_->start();
    WriteBatch batch;
    batch.lanes = {{kLane, "default", "sum", {}}, {LaneId{2}, "default", "echo", {}}};
    batch.queues = {{.name = "default", .state = QueueState::closed, .generation = 3}};
    batch.batches = {{.id = BatchId{1},
                      .owner = {},
                      .total = 3,
                      .open = 2,
                      .done = 1,
                      .created_at = at(kEnqueuedAt)}};
    batch.workers = {{WorkerId{5}, "s", "worker-5", "h", 1, at(1), {}}};
    auto done = leased_job(1, 1);
    done.status.worker = WorkerId{5};
    done.status.attempts = 1;
    done.status.started_at = at(kEnqueuedAt + 1);
    done.payload = Payload::text(R"({"n":2})");
    auto ready = ready_job(2);
    ready.spec.lane = LaneId{2};
    ready.spec.replay_of = JobId{1};
    ready.payload = Payload::binary("\x01\x02");
    batch.inserts = {done, ready, scheduled_job(3, 60'000)};
    batch.attempts = {
        {JobId{1}, 1, WorkerId{5}, at(kEnqueuedAt), at(kEnqueuedAt + 7), "nack", "no"}};
    count(batch);
    store_->commit(batch);
    JobUpdate update = finish(done, JobState::done, 1, 999);
    update.status.attempts = 2;
    put(*store_, {done}, {update});
  }
  std::unique_ptr<SqliteStore> store_;
};

TEST_F(SqliteViews, JobsReadLikeATable) {
  const auto rows = select("SELECT * FROM jobs ORDER BY id");

  ASSERT_EQ(rows.size(), 4U);
  EXPECT_THAT(rows[0],
              ElementsAre("id", "queue", "kind", "state", "priority", "payload", "result", "error",
                          "deliveries", "attempts", "crashes", "batch", "replay_of", "worker",
                          "enqueued_at", "run_at", "started_at", "finished_at"));
  EXPECT_THAT(rows[1], ElementsAre("1", "default", "sum", "done", "100", R"({"n":2})", "result 1",
                                   "NULL", "1", "2", "0", "1", "NULL", "worker-5",
                                   "2023-11-14T22:13:20.000Z", "2023-11-14T22:13:20.000Z",
                                   "2023-11-14T22:13:20.001Z", "2023-11-14T22:13:20.999Z"));
  EXPECT_EQ(rows[2][3], "ready");
  EXPECT_EQ(rows[2][2], "echo");
  EXPECT_EQ(rows[2][12], "1");
  EXPECT_EQ(rows[2][13], "NULL");
  EXPECT_EQ(rows[3][3], "scheduled");
  EXPECT_EQ(rows[3][15], "2023-11-14T22:14:20.000Z");
  EXPECT_EQ(rows[3][16], "NULL");
  EXPECT_EQ(rows[3][17], "NULL");
}

TEST_F(SqliteViews, PayloadsAreTextWhereTheyAreText) {
  const auto rows = select("SELECT typeof(payload) FROM jobs ORDER BY id");
  EXPECT_THAT(rows, ElementsAre(Row{"typeof(payload)"}, Row{"text"}, Row{"blob"}, Row{"null"}));
}

TEST_F(SqliteViews, AttemptsEndWithTheRunThatWentWell) {
  EXPECT_THAT(
      select("SELECT * FROM attempts ORDER BY job, attempt"),
      ElementsAre(Row{"job", "attempt", "worker", "started_at", "finished_at", "outcome", "error"},
                  Row{"1", "1", "worker-5", "2023-11-14T22:13:20.000Z", "2023-11-14T22:13:20.007Z",
                      "nack", "no"},
                  Row{"1", "2", "worker-5", "2023-11-14T22:13:20.001Z", "2023-11-14T22:13:20.999Z",
                      "ack", "NULL"}));
}

TEST_F(SqliteViews, QueuesAndBatchesShowTheirCounts) {
  EXPECT_THAT(
      select("SELECT * FROM queues"),
      ElementsAre(Row{"queue", "state", "paused", "generation", "blocked", "scheduled", "ready",
                      "leased", "done", "dead", "cancelled", "expired"},
                  Row{"default", "closed", "0", "3", "0", "1", "1", "0", "1", "0", "0", "0"}));
  EXPECT_THAT(select("SELECT * FROM batches"),
              ElementsAre(Row{"batch", "sealed", "total", "open", "done", "dead", "cancelled",
                              "expired", "created_at"},
                          Row{"1", "0", "3", "2", "1", "0", "0", "0", "2023-11-14T22:13:20.000Z"}));
}

TEST_F(SqliteViews, StatesCanBeCountedWhileTheStoreRunsAndAfterIt) {
  const std::string sql = "SELECT state, count(*) FROM jobs GROUP BY 1";
  const auto running = select(sql);
  store_.reset();

  EXPECT_THAT(running, ElementsAre(Row{"state", "count(*)"}, Row{"done", "1"}, Row{"ready", "1"},
                                   Row{"scheduled", "1"}));
  EXPECT_EQ(select(sql), running);
}

TEST_F(SqliteViews, EveryMillisecondIsShownAsItIs) {
  std::vector<JobInsert> jobs;
  for (std::uint64_t ms = 0; ms < 1000; ++ms) {
    jobs.push_back(ready_job(1000 + ms));
    jobs.back().spec.enqueued_at = at(kEnqueuedAt + 39'000 + static_cast<std::int64_t>(ms));
  }
  put(*store_, jobs);

  const auto rows = select("SELECT enqueued_at FROM jobs WHERE id >= 1000 ORDER BY id");

  ASSERT_EQ(rows.size(), 1001U);
  for (std::size_t ms = 0; ms < 1000; ++ms) {
    char expected[40];
    std::snprintf(expected, sizeof expected, "2023-11-14T22:13:59.%03zuZ", ms);
    EXPECT_EQ(rows[ms + 1][0], expected);
  }
}

}  // namespace
}  // namespace millrace::broker::testing

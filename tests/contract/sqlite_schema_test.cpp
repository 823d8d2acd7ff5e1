// How the file of an older version becomes one of today.

#include <gmock/gmock.h>
#include <sqlite3.h>

#include <filesystem>

#include "broker/store/checksum.h"
#include "broker/store/file_check.h"
#include "broker/store/schema.h"
#include "broker/store/schema_steps.h"
#include "tests/contract/fault_vfs.h"
#include "tests/contract/schema_1.h"
#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

using ::testing::ElementsAre;
namespace fs = std::filesystem;

/// Three jobs as version 1 wrote them, checksums included.
constexpr const char* kRows1 = R"sql(
UPDATE meta SET epoch = 4, last_job = 3, last_finish = 1, last_worker = 1;
INSERT INTO lane VALUES (1, 'default', 'sum', 0, 0, 1, 1, 1, 0, 0, 0),
                        (2, 'mail', 'send', 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO worker VALUES (1, x'00', 'w', 'h', 9, 5, 0);
INSERT INTO request VALUES (1, 1, 77, 1, 1, 3, 50, NULL);
INSERT INTO job VALUES
  (1, 4, 1, 100, 1, 0, 3, 0, 0, 0, 1700000000000, 1, 1, 1, 1, 0, 0, 0, 1700000000000, 0,
   1700000001000, 1, 7, -8209517309289054622, 2775848450773068937, '', '{"n":2}', 'grün'),
  (2, 3, 1, 3, 1, 0, 7, 9, 500, 0, 1700000000000, 2, 1, 1, 0, 0, 0, 0, 1700000000000, 0, 0, NULL,
   2, -2426090738147904857, NULL, '', x'0102', NULL),
  (3, 2, 1, 3, 1, 0, 7, 9, 500, 0, 1700000000000, 0, 0, 0, 0, 0, 0, 0, 1700000000000, 0, 0, NULL,
   0, 961360461448788720, NULL, '', NULL, NULL);
)sql";

class SqliteSchema : public ::testing::Test {
 protected:
  SqliteSchema() {
    run(std::string("PRAGMA auto_vacuum = 2; BEGIN;") + kSchema1 + kRows1 + "COMMIT");
    run("PRAGMA journal_mode = WAL");
  }
  ~SqliteSchema() override { vfs_faults() = {}; }

  std::unique_ptr<SqliteStore> open() const {
    auto options = fast_options(path_);
    options.synchronous = 2;
    options.vfs = fault_vfs();
    return std::make_unique<SqliteStore>(options);
  }
  std::vector<std::string> run(const std::string& sql) const { return run(path_, sql); }
  /// All values of all rows.
  static std::vector<std::string> run(const std::string& path, const std::string& sql) {
    sqlite3* handle = nullptr;
    EXPECT_EQ(sqlite3_open(path.c_str(), &handle), SQLITE_OK);
    std::vector<std::string> values;
    const auto take = [](void* out, int columns, char** row, char**) {
      for (int i = 0; i < columns; ++i)
        static_cast<std::vector<std::string>*>(out)->emplace_back(row[i] == nullptr ? "NULL"
                                                                                    : row[i]);
      return 0;
    };
    EXPECT_EQ(sqlite3_exec(handle, sql.c_str(), take, &values, nullptr), SQLITE_OK)
        << sqlite3_errmsg(handle);
    sqlite3_close(handle);
    return values;
  }

  TempFolder folder_;
  std::string path_ = folder_.file("jobs.db");
};

TEST_F(SqliteSchema, AnOlderFileCannotBeToldFromAFreshOne) {
  const std::string all = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name";
  const std::string fresh = folder_.file("fresh.db");
  SqliteStore(fast_options(fresh)).start();

  open()->start();

  EXPECT_EQ(run(all), run(fresh, all));
  EXPECT_THAT(run("PRAGMA user_version"), ElementsAre(std::to_string(kSchemaVersion)));
  EXPECT_THAT(run("PRAGMA integrity_check"), ElementsAre("ok"));
}

TEST_F(SqliteSchema, ItsJobsAreWhatTheyWere) {
  const auto store = open();
  const Snapshot snapshot = store->start();

  EXPECT_EQ(snapshot.epoch, 5U);
  EXPECT_EQ(snapshot.last_output, OutputSeq{});
  ASSERT_EQ(snapshot.leased.size(), 1U);
  const JobRecord& job = snapshot.leased[0];  // its checksum was verified
  EXPECT_EQ(job.payload, Payload::binary("\x01\x02"));
  EXPECT_EQ(job.spec.max_attempts, 7);
  EXPECT_EQ(job.spec.crashes_max, 3);
  EXPECT_EQ(job.spec.retry, "");
  EXPECT_EQ(job.spec.expires_at, Time{});
  EXPECT_EQ(job.spec.unique_key, "");
  EXPECT_EQ(job.spec.unique_scope, UniqueScope::active);
  EXPECT_FALSE(job.status.unique_held);
  SqliteQuery query({.path = path_});
  const auto done = query.item({.job = JobId{1}, .batch = {}});
  ASSERT_TRUE(done);
  EXPECT_EQ(done->job[0].result, Payload::text("grün"));
  const auto request = std::get<LoadedRequest>(store->load(LoadRequest{{1, 1}}));
  ASSERT_TRUE(request.row);
  EXPECT_EQ(request.row->body_hash, 77U);
  EXPECT_TRUE(request.row->ids.empty());
}

TEST_F(SqliteSchema, ItsLanesKnowWhatTheirEndedJobsWeigh) {
  const Snapshot snapshot = open()->start();

  ASSERT_EQ(snapshot.lanes.size(), 2U);
  EXPECT_THAT(snapshot.lanes[0].counts, ElementsAre(0, 0, 1, 1, 1, 0, 0, 0));
  EXPECT_THAT(snapshot.lanes[0].bytes, ElementsAre(0, 0, 0, 0, 7 + 5, 0, 0, 0));
  EXPECT_THAT(snapshot.lanes[1].bytes, ElementsAre(0, 0, 0, 0, 0, 0, 0, 0));
}

TEST_F(SqliteSchema, AMigrationThatFailsLeavesTheOldFile) {
  const auto state = [&] { return run("SELECT id, checksum FROM job ORDER BY id"); };
  const auto before = state();
  int failures = 0;
  for (int sync = 1; sync < 50; ++sync) {
    vfs_faults() = {};
    vfs_faults().syncs_until_failure = sync;
    try {
      open().reset();
      break;  // it got by with fewer syncs
    } catch (const StoreError&) {
      ++failures;
    }
    const auto version = run("PRAGMA user_version");
    EXPECT_THAT(version, ElementsAre(::testing::AnyOf("1", "2", "3", "4", "5")));
    EXPECT_EQ(state(), before);
    EXPECT_EQ(run("SELECT count(*) FROM pragma_table_info('job') WHERE name = 'unique_key'"),
              std::vector<std::string>{version[0] >= "2" ? "1" : "0"});
    const auto is = [&](const std::string& first, const std::string& last) {
      return std::vector<std::string>{version[0] >= first && version[0] <= last ? "1" : "0"};
    };
    EXPECT_EQ(run("SELECT count(*) FROM pragma_table_info('job') WHERE name = 'ready_in'"),
              is("3", "4"));
    EXPECT_EQ(run("SELECT count(*) FROM sqlite_schema WHERE name = 'lease_list'"), is("4", "4"));
    EXPECT_EQ(run("SELECT count(*) FROM sqlite_schema WHERE name = 'status'"), is("5", "9"));
    EXPECT_THAT(run("PRAGMA integrity_check"), ElementsAre("ok"));
    if (version[0] == std::to_string(kSchemaVersion)) break;
  }
  EXPECT_GT(failures, 0);

  vfs_faults() = {};
  EXPECT_EQ(open()->start().leased.size(), 1U);
  EXPECT_EQ(state(), before);
}

TEST_F(SqliteSchema, AMigrationThatIsCutOffHasNotHappened) {
  vfs_faults().syncs_until_failure = 1;  // of the log, with the whole step in it
  EXPECT_THROW(open(), StoreError);
  vfs_faults() = {};
  const auto written = fs::file_size(path_ + "-wal");

  for (const auto kept : {written - 1, written / 2, std::uintmax_t{100}}) {
    const std::string copy = folder_.file("cut-" + std::to_string(kept) + ".db");
    fs::copy_file(path_, copy);
    fs::copy_file(path_ + "-wal", copy + "-wal");
    fs::resize_file(copy + "-wal", kept);

    EXPECT_THAT(run(copy, "PRAGMA user_version"), ElementsAre("1"));
    EXPECT_THAT(run(copy, "SELECT count(*) FROM jobs"), ElementsAre("3"));
    EXPECT_EQ(SqliteStore(fast_options(copy)).start().leased.size(), 1U);
    EXPECT_THAT(run(copy, "PRAGMA user_version"), ElementsAre(std::to_string(kSchemaVersion)));
  }
}

TEST_F(SqliteSchema, AReadyJobTakesNoMoreThanInTheFirstVersion) {
  open()->start();
  const std::string path = folder_.file("old.db");
  run(path, std::string("PRAGMA auto_vacuum = 2; BEGIN;") + kSchema1 + "COMMIT");
  const std::string ids =
      "WITH RECURSIVE n(id) AS (SELECT 10 UNION ALL SELECT id + 1 FROM n WHERE id < 5000) ";
  const auto filled = [&](const std::string& file, const std::string& sql) {
    run(file, sql);
    return std::stol(run(file,
                         "SELECT sum(pgsize - unused) FROM dbstat "
                         "WHERE name IN ('job', 'job_ready', 'status', 'ready')")[0]);
  };

  const long before = filled(path, ids +
                                       "INSERT INTO job SELECT id, 2, 1, 100, 1, 0, 3, 0, 0, 0, "
                                       "1700000000000, 0, 0, 0, 0, 0, 0, 0, 1700000000000, 0, 0, "
                                       "NULL, 100, 1, NULL, '', NULL, NULL FROM n");
  const long after =
      filled(path_, ids +
                        "INSERT INTO job SELECT id, 1, 100, 1, 0, 3, 0, 0, 0, "
                        "1700000000000, 100, 1, 3, NULL, 0, NULL, 1, NULL FROM n;" +
                        ids + "INSERT INTO ready SELECT 1, 100, max(id), min(id) FROM n");

  EXPECT_LE(after, before + 4096);
}

/// A file of version 4 with jobs in every state.
class SqliteSchema4 : public SqliteSchema {
 protected:
  SqliteSchema4() {
    {
      const sqlite::Connection file(path_, sqlite::Access::write, {});
      file.execute("BEGIN");
      file.execute("DELETE FROM job");
      create_2(file);
      create_3(file);
      create_4(file);
      file.execute("PRAGMA user_version = 4");
      file.execute("COMMIT");
    }
    run("DELETE FROM lane; INSERT INTO lane (id, queue, kind, blocked, scheduled, ready, leased, "
        "done, dead, cancelled, expired, done_bytes) VALUES (1, 'default', 'sum', 1, 1, 5, 3, 2, 1,"
        "1, 1, 5); UPDATE meta SET epoch = 4, last_job = 15, last_finish = 5;"
        "INSERT INTO batch VALUES (1, 1, x'', 15, 10, 2, 1, 1, 1, 1700000000000)");
    add(1, "0, NULL, 0, 0, 0, 0, 0, E", "NULL, NULL, NULL, '', NULL");       // blocked
    add(2, "1, NULL, 5, 1, 2, 1, 1, E + 9", "NULL, E + 9, 77, 'no', NULL");  // waits for its retry
    add(3, "2, NULL, 0, 0, 0, 0, 0, E", "1, NULL, NULL, '', NULL");          // as it was enqueued
    add(4, "2, NULL, 0, 0, 0, 0, 0, E + 5", "1, NULL, NULL, '', NULL");      // it was due
    add(5, "2, NULL, 6, 1, 1, 1, 0, E + 5", "1, NULL, NULL, 'no', NULL");    // after a retry
    add(6, "2, NULL, 0, 0, 0, 0, 0, E", "1, NULL, 77, '', NULL");            // may expire
    add(7, "2, NULL, 7, 1, 1, 0, 0, E + 5", "1, NULL, NULL, '', NULL");      // was given back
    add(8, "3, NULL, 8, 1, 1, 0, 0, E", "1, NULL, NULL, '', NULL");          // leased
    add(9, "3, NULL, 9, 1, 2, 1, 0, E + 5", "1, NULL, NULL, 'no', NULL");    // and again
    add(10, "3, NULL, 10, 1, 1, 0, 0, E", "1, NULL, NULL, '', NULL");
    add(11, "4, 1, 1, 1, 1, 1, 0, E", "NULL, NULL, NULL, '', 'grown'");
    add(12, "4, 2, 2, 1, 2, 1, 1, E + 5", "NULL, NULL, NULL, '', NULL");
    add(13, "5, 3, 3, 1, 3, 3, 0, E + 5", "NULL, NULL, NULL, 'no', NULL");
    add(14, "6, 4, 0, 0, 0, 0, 0, E", "NULL, NULL, NULL, 'stopped', NULL");
    add(15, "7, 5, 0, 0, 0, 0, 0, E", "NULL, NULL, NULL, 'late', NULL");
    run("INSERT INTO lease_list VALUES (1, x'0801010101')");
    run("INSERT INTO attempt VALUES (12, 1, 1, 5, 6, 'crash', 'lost'), (13, 1, 1, 5, 6, 'nack', "
        "'no')");
  }
  /// `how`: state, finish_seq, lease, worker, deliveries, attempts, crashes, run_at; `more`:
  /// ready_in, due_at, gives_up_at, error, result. E: when it was enqueued.
  void add(std::uint64_t id, std::string how, std::string more) const {
    JobSpec spec;
    spec.lane = kLane;
    spec.batch = BatchId{1};
    spec.enqueued_at = at(kEnqueuedAt);
    if (more.find(", 77,") != std::string::npos) spec.expires_at = at(77);
    const std::string sum = std::to_string(job_checksum(JobId{id}, spec, {}));
    const bool has_result = more.find("grown") != std::string::npos;
    const std::string result =
        has_result ? std::to_string(result_checksum(JobId{id}, Payload::text("grown"))) : "NULL";
    for (std::string* text : {&how, &more})
      for (std::size_t e = 0; (e = text->find('E')) != std::string::npos;)
        text->replace(e, 1, std::to_string(kEnqueuedAt));
    run("INSERT INTO job (state, finish_seq, lease, worker, deliveries, attempts, crashes, run_at, "
        "ready_in, due_at, gives_up_at, error, result, id, lane, priority, batch, replay_of, "
        "max_attempts, timeout, backoff, absolute, enqueued_at, attempts_base, crashes_base, "
        "started_at, finished_at, payload_bytes, checksum, result_checksum, crashes_max, "
        "expires_at, unique_scope, unique_held) VALUES (" +
        how + ", " + more + ", " + std::to_string(id) + ", 1, 100, 1, 0, 3, 0, 0, 0, " +
        std::to_string(kEnqueuedAt) + ", 0, 0, 0, " +
        (how[0] >= '4' ? std::to_string(kEnqueuedAt + 99) : "0") + ", 0, " + sum + ", " + result +
        ", 3, " + (spec.expires_at == Time{} ? "0" : "77") + ", 1, 0)");
  }
};

TEST_F(SqliteSchema4, ItsJobsReadAsTheyDid) {
  const auto read = [&] {
    auto all = run("SELECT * FROM jobs ORDER BY id");
    for (const std::string& value : run("SELECT * FROM attempts ORDER BY job, attempt"))
      all.push_back(value);
    return all;
  };
  const auto before = read();
  ASSERT_EQ(before.size(), 15U * 18 + 4 * 7);

  auto store = open();

  EXPECT_EQ(read(), before);
  const Snapshot snapshot = store->start();
  EXPECT_THAT(ids(snapshot.leased), ElementsAre(8, 9, 10));
  const LoadReady all{.lane = kLane, .after_id = {}, .jobs_max = 99};
  EXPECT_THAT(ids(std::get<LoadedReady>(store->load(all)).jobs), ElementsAre(3, 4, 5, 6, 7));
  EXPECT_THAT(run("SELECT group_concat(id, ' ') FROM status"),
              ElementsAre("1 2 4 5 6 7 8 9 10 11 12 13 14 15"));
  EXPECT_EQ(read(), before);
}

TEST_F(SqliteSchema4, ItsTablesAgree) {
  open().reset();

  std::string told;
  check_file(path_, {}, [&](const Violation& violation) {
    for (const char* rule : {"waiting", "status", "lease", "checksum", "integrity"})
      if (violation.rule == rule) told += violation.text + "\n";
  });

  EXPECT_EQ(told, "");
}

}  // namespace
}  // namespace millrace::broker::testing

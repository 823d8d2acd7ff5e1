// The log of a database, written in large pieces.

#include "broker/store/log_vfs.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/contract/fault_vfs.h"
#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

class LogVfsFile : public ::testing::Test {
 protected:
  LogVfsFile() {
    execute("PRAGMA journal_mode = WAL");
    execute("PRAGMA synchronous = FULL");
    execute("PRAGMA wal_autocheckpoint = 0");
    execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)");
  }
  ~LogVfsFile() override { vfs_faults() = {}; }

  void execute(const std::string& sql) const { writer_.execute(sql); }
  /// Rows of 3,000 bytes, so one to a page.
  void insert(int first, int last) const {
    execute(
        fmt::format("WITH RECURSIVE n(id) AS (SELECT {} UNION ALL SELECT id + 1 FROM n "
                    "WHERE id < {}) INSERT INTO t SELECT id, printf('%.3000c', 'x') FROM n",
                    first, last));
  }
  /// What others find, through the file system as it is.
  std::int64_t seen() const {
    return sqlite::Connection(path_, sqlite::Access::read, {}).integer("SELECT count(*) FROM t");
  }
  std::string damage() const { return writer_.value("PRAGMA integrity_check").value_or("?"); }

  TempFolder folder_;
  const std::string path_ = folder_.file("log.db");
  const sqlite::LogVfs vfs_{fault_vfs()};
  const sqlite::Connection writer_{path_, sqlite::Access::create, vfs_.name()};
};

TEST_F(LogVfsFile, ACommitIsOneWrite) {
  insert(1, 1);
  vfs_faults().writes = 0;

  insert(2, 11);

  EXPECT_EQ(vfs_faults().writes, 1);
  EXPECT_EQ(seen(), 11);
}

TEST_F(LogVfsFile, ALargeCommitIsAFew) {
  vfs_faults().writes = 0;

  insert(1, 300);

  EXPECT_GE(vfs_faults().writes, 300 * 4096 / (124 << 10));
  EXPECT_LE(vfs_faults().writes, 300 * 4300 / (124 << 10) + 1);
  EXPECT_EQ(seen(), 300);
  EXPECT_EQ(damage(), "ok");
}

TEST_F(LogVfsFile, WhatDoesNotFitOnTheDiskIsNotCommitted) {
  insert(1, 5);
  vfs_faults().full = true;
  try {
    insert(6, 9);
    ADD_FAILURE() << "it was committed";
  } catch (const sqlite::SqliteError& error) {
    EXPECT_TRUE(error.is_full()) << error.what();
  }
  EXPECT_EQ(seen(), 5);

  vfs_faults().full = false;
  insert(6, 7);

  EXPECT_EQ(seen(), 7);
  EXPECT_EQ(damage(), "ok");
}

TEST_F(LogVfsFile, ATransactionThatOutgrowsTheCacheReadsWhatItWrote) {
  execute("PRAGMA cache_size = 10");
  execute("BEGIN");
  insert(1, 200);
  execute("UPDATE t SET text = 'changed' WHERE id % 2");
  EXPECT_EQ(writer_.integer("SELECT count(*) FROM t WHERE text = 'changed'"), 100);
  EXPECT_EQ(seen(), 0);
  execute("ROLLBACK");
  EXPECT_EQ(seen(), 0);

  execute("BEGIN");
  insert(1, 100);
  execute("DELETE FROM t WHERE id > 50");
  execute("COMMIT");

  EXPECT_EQ(seen(), 50);
  EXPECT_EQ(damage(), "ok");
}

TEST_F(LogVfsFile, TheLogIsMovedIntoTheFileAndBegunAnew) {
  insert(1, 50);
  sqlite::Connection other(path_, sqlite::Access::write, vfs_.name());
  EXPECT_TRUE(other.checkpoint(sqlite::Checkpoint::restart));
  insert(51, 60);
  EXPECT_TRUE(other.checkpoint(sqlite::Checkpoint::truncate));
  insert(61, 70);

  EXPECT_EQ(seen(), 70);
  EXPECT_EQ(damage(), "ok");
}

TEST_F(LogVfsFile, SeveralDoNotKnowOfEachOther) {
  const std::string other_path = folder_.file("other.db");
  for (int life = 1; life <= 2; ++life) {
    const sqlite::LogVfs vfs(fault_vfs());
    const sqlite::Connection other(other_path, sqlite::Access::create, vfs.name());
    other.execute("PRAGMA journal_mode = WAL");
    other.execute("CREATE TABLE IF NOT EXISTS t (id)");
    other.execute("INSERT INTO t VALUES (1)");
    insert(life, life);
    EXPECT_EQ(other.integer("SELECT count(*) FROM t"), life);
  }
  EXPECT_EQ(seen(), 2);
}

TEST_F(LogVfsFile, NeedsAFileSystemBelow) {
  EXPECT_EQ(thrown_code([] { const sqlite::LogVfs vfs("no such"); }), ErrorCode::storage_failed);
}

}  // namespace
}  // namespace millrace::broker::testing

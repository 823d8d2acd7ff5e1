// Backups and restores as functions: what they refuse, what they leave behind, and that nothing of
// the life before a restore can act in the one after it.

#include "broker/store/backup.h"

#include <gmock/gmock.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <stop_token>

#include "broker/store/schema.h"
#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace fs = std::filesystem;

constexpr std::uint64_t kLease = (std::uint64_t{1} << 40) + 1;

class Backup : public ::testing::Test {
 protected:
  Backup() {
    store_.emplace(fast_options(path_));
    store_->start();
    WriteBatch batch;
    batch.lanes = {{kLane, "default", "sum", {}}, {LaneId{2}, "default", "echo", {}}};
    batch.workers = {{WorkerId{1}, "s", "w", "h", 1, at(kEnqueuedAt), {}}};
    store_->commit(batch);
    auto done = job(1, leased_job(1, kLease));
    auto running = job(2, leased_job(2, kLease + 1));
    auto other = job(3, leased_job(3, kLease + 2));
    other.spec.lane = LaneId{2};
    running.status.started_at = at(kEnqueuedAt + 1);
    put(*store_, {done, running, other, job(4, ready_job(4))});
    put(*store_, {done}, {finish(done, JobState::done, 1)});
  }
  static JobInsert job(std::uint64_t id, JobInsert job) {
    job.spec.batch = BatchId{id};  // alone
    if (job.status.lease) job.status.worker = WorkerId{1};
    return job;
  }
  [[nodiscard]] std::vector<std::string> problems(const std::string& path) const {
    std::vector<std::string> found;
    check_file(path, {}, [&](const Violation& violation) { found.push_back(violation.text); });
    return found;
  }
  static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void change(const std::string& path, const std::string& sql) {
    sqlite3* handle = nullptr;
    EXPECT_EQ(sqlite3_open(path.c_str(), &handle), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(handle);
    sqlite3_close(handle);
  }
  /// Names in the folder, sorted.
  [[nodiscard]] std::vector<std::string> files(const std::string& part) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(fs::path(path_).parent_path()))
      if (entry.path().filename().string().find(part) != std::string::npos)
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  static std::string message(ErrorCode code, const std::function<void()>& act) {
    try {
      act();
    } catch (const StoreError& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no StoreError";
    return {};
  }

  TempFolder folder_;
  std::string path_ = folder_.file("jobs.db");
  std::string backup_ = folder_.file("copy.db");
  std::string restored_ = folder_.file("new.db");
  std::optional<SqliteStore> store_;
};

TEST_F(Backup, OfAStoreInUseIsOneWholeFile) {
  const FileSummary content = backup_database(path_, backup_);

  EXPECT_EQ(content.jobs, 4U);
  EXPECT_EQ(content.states[static_cast<std::size_t>(JobState::leased)], 2U);
  EXPECT_THAT(problems(backup_), IsEmpty());
  EXPECT_THAT(files("copy"), ElementsAre("copy.db"));
  put(*store_, {job(5, ready_job(5))});  // the store goes on
  EXPECT_EQ(check_file(backup_, {}, [](const Violation&) {}).jobs, 4U);
}

TEST_F(Backup, OfAStoreThatStoppedOrCrashedIsTheSame) {
  const std::string crashed = folder_.file("crashed.db");
  fs::copy(path_, crashed);
  fs::copy(path_ + "-wal", crashed + "-wal");
  store_.reset();

  EXPECT_EQ(backup_database(path_, backup_).jobs, 4U);
  EXPECT_EQ(backup_database(crashed, folder_.file("second.db")).jobs, 4U);
}

TEST_F(Backup, NeverReplacesAFile) {
  std::ofstream(backup_) << "mine";

  EXPECT_THAT(message(ErrorCode::usage, [&] { backup_database(path_, backup_); }),
              HasSubstr("copy.db` exists"));
  EXPECT_EQ(content(backup_), "mine");
  EXPECT_EQ(thrown_code([&] { backup_database(path_, path_); }), ErrorCode::usage);
}

TEST_F(Backup, TakesOverWhatAKilledOneLeft) {
  std::ofstream(backup_ + ".tmp") << std::string(100'000, 'x');
  std::ofstream(backup_ + ".tmp-journal") << std::string(1000, 'x');

  EXPECT_EQ(backup_database(path_, backup_).jobs, 4U);
  EXPECT_THAT(files("copy"), ElementsAre("copy.db"));
}

TEST_F(Backup, DoesNotDisturbAnotherOneOfTheSameName) {
  const std::string temporary = backup_ + ".tmp";
  const int fd = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);

  EXPECT_EQ(thrown_code([&] { backup_database(path_, backup_); }), ErrorCode::busy);
  EXPECT_TRUE(fs::exists(temporary));
  ::close(fd);
}

TEST_F(Backup, ThatIsToldToStopLeavesNothing) {
  std::stop_source stop;
  stop.request_stop();

  EXPECT_THAT(
      message(ErrorCode::stopping, [&] { backup_database(path_, backup_, stop.get_token()); }),
      HasSubstr("copy.db` was not finished"));
  EXPECT_THAT(files("copy"), IsEmpty());
}

TEST_F(Backup, ACheckEndsWhenItIsToldToStop) {
  std::vector<JobInsert> many;
  for (std::uint64_t id = 5; id < 2000; ++id) many.push_back(job(id, ready_job(id)));
  put(*store_, many);
  std::stop_source stop;
  std::size_t seen = 0;
  const FileCheckOptions options{.rows = {},
                                 .on_job =
                                     [&](JobId, std::optional<JobState>) {
                                       ++seen;
                                       stop.request_stop();
                                     },
                                 .stop = stop.get_token()};

  EXPECT_EQ(thrown_code([&] { check_file(path_, options, [](const Violation&) {}); }),
            ErrorCode::storage_failed);
  EXPECT_LT(seen, 100U);
}

TEST_F(Backup, OfWhatIsNotThereOrNotOursLeavesNothing) {
  const std::string other = folder_.file("other.db");
  EXPECT_EQ(thrown_code([&] { backup_database(other, backup_); }), ErrorCode::no_input);
  change(other, "CREATE TABLE t (a)");
  EXPECT_EQ(thrown_code([&] { backup_database(other, backup_); }), ErrorCode::foreign_file);
  EXPECT_EQ(thrown_code([&] { backup_database(path_, folder_.file("no/such.db")); }),
            ErrorCode::storage_failed);
  EXPECT_THAT(files("copy"), IsEmpty());
}

TEST_F(Backup, OfADamagedFileIsNoBackup) {
  store_.reset();
  change(path_, "UPDATE job SET priority = 7 WHERE id = 4");

  EXPECT_THAT(message(ErrorCode::corrupt, [&] { backup_database(path_, backup_); }),
              HasSubstr("job 4"));
  EXPECT_THAT(files("copy"), IsEmpty());
}

class Restore : public Backup {
 protected:
  Restore() { backup_database(path_, backup_); }
};

TEST_F(Restore, EndsEveryLeaseAndChargesNothing) {
  const Restored restored = restore_database(backup_, restored_);

  EXPECT_EQ(restored.leases_ended, 2U);
  EXPECT_THAT(restored.content.states, ElementsAre(0, 0, 3, 0, 1, 0, 0, 0));
  EXPECT_THAT(problems(restored_), IsEmpty());
  EXPECT_THAT(files("new.db"), ElementsAre("new.db", "new.db.LOCK"));
  SqliteStore store(fast_options(restored_));
  EXPECT_THAT(store.start().leased, IsEmpty());
  const auto jobs =
      std::get<LoadedJobs>(store.load(LoadJobs{.ticket = 1, .ids = {JobId{1}, JobId{2}}})).jobs;
  ASSERT_EQ(jobs.size(), 2U);
  EXPECT_EQ(jobs[0].status.state, JobState::done);
  EXPECT_EQ(jobs[1].status.state, JobState::ready);
  EXPECT_EQ(jobs[1].status.attempts + jobs[1].status.crashes, 0);
  EXPECT_EQ(jobs[1].status.deliveries, 1);
  EXPECT_EQ(jobs[1].status.started_at, Time{});
}

TEST_F(Restore, SkipsEpochsIdsAndCursors) {
  const Restored restored = restore_database(backup_, restored_);

  EXPECT_GE(restored.content.epoch, 1U + 65'536);
  EXPECT_GE(restored.last_job.value, 4U + 1'000'000'000);
  SqliteStore store(fast_options(restored_));
  const Snapshot snapshot = store.start();
  EXPECT_EQ(snapshot.epoch, restored.content.epoch + 1);
  EXPECT_EQ(snapshot.last_job, restored.last_job);
  EXPECT_GE(snapshot.last_finish.value, 1U + 1'000'000'000);
  EXPECT_GE(snapshot.last_output.value, 1'000'000'000U);
}

TEST_F(Restore, OfOneBackupTwiceGivesTwoLives) {
  const Restored first = restore_database(backup_, restored_);
  const Restored second = restore_database(backup_, folder_.file("second.db"));

  EXPECT_TRUE(first.content.epoch != second.content.epoch || first.last_job != second.last_job);
  EXPECT_NE(first.last_job, second.last_job);
}

TEST_F(Restore, LeavesTheBackupAsItIs) {
  const std::string before = content(backup_);

  restore_database(backup_, restored_);

  EXPECT_EQ(content(backup_), before);
  EXPECT_THAT(files("copy"), ElementsAre("copy.db"));
}

TEST_F(Restore, NeverReplacesADatabaseOrWhatIsLeftOfOne) {
  EXPECT_EQ(thrown_code([&] { restore_database(backup_, path_); }), ErrorCode::usage);
  for (const char* suffix : {"-wal", "-journal"}) {
    std::ofstream(restored_ + suffix) << "log";
    EXPECT_THAT(message(ErrorCode::usage, [&] { restore_database(backup_, restored_); }),
                HasSubstr(suffix));
    fs::remove(restored_ + suffix);
  }
  EXPECT_FALSE(fs::exists(restored_));
}

TEST_F(Restore, IsRefusedWhileABrokerHoldsTheName) {
  const FileLock lock(restored_);

  EXPECT_EQ(thrown_code([&] { restore_database(backup_, restored_); }), ErrorCode::store_locked);
  EXPECT_FALSE(fs::exists(restored_));
}

TEST_F(Restore, RefusesWhatIsDamagedForeignOrNewer) {
  const auto refused = [&] { return thrown_code([&] { restore_database(backup_, restored_); }); };
  EXPECT_EQ(thrown_code([&] { restore_database(backup_ + "x", restored_); }), ErrorCode::no_input);
  change(backup_, "UPDATE lane SET ready = ready + 1");
  EXPECT_EQ(refused(), ErrorCode::corrupt);
  change(backup_, "UPDATE lane SET ready = ready - 1; PRAGMA user_version = 99");
  EXPECT_EQ(refused(), ErrorCode::foreign_file);
  std::ofstream(backup_) << "Dear diary, they want me to be a database now. " << backup_;
  EXPECT_EQ(refused(), ErrorCode::foreign_file);
  EXPECT_THAT(files("new.db"), IsEmpty());
}

TEST_F(Restore, OfAFileWithScribbledPagesIsRefused) {
  std::fstream file(backup_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(5L * 4096, '\x5a');
  file.close();

  EXPECT_EQ(thrown_code([&] { restore_database(backup_, restored_); }), ErrorCode::corrupt);
}

TEST_F(Restore, ACutOffFileIsRefused) {
  fs::resize_file(backup_, fs::file_size(backup_) - 3L * 4096);

  EXPECT_EQ(thrown_code([&] { restore_database(backup_, restored_); }), ErrorCode::corrupt);
}

TEST_F(Restore, AChainThatIsTooLongIsRefused) {
  change(backup_, "UPDATE meta SET epoch = (1 << 23) - 1000");

  EXPECT_THAT(message(ErrorCode::storage_failed, [&] { restore_database(backup_, restored_); }),
              HasSubstr("used up"));
  EXPECT_FALSE(fs::exists(restored_ + ".tmp"));
}

}  // namespace
}  // namespace millrace::broker::testing

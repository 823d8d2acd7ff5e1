// The file gets shorter again, without holding anybody up.

#include <gmock/gmock.h>
#include <sqlite3.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

class SqliteShrink : public ::testing::Test {
 protected:
  SqliteShrink() {
    reopen();
    WriteBatch batch;
    batch.lanes = {{kLane, "default", "sum", {}}};
    store_->commit(batch);
  }
  void reopen() {
    store_.reset();
    auto options = fast_options(path_);
    options.log_passive_bytes = 1;  // the file ends where the log says only once it is moved
    store_ = std::make_unique<SqliteStore>(options);
    store_->start();
  }
  /// Ended jobs of ten pages each.
  void fill(std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t id = first; id <= last; ++id) {
      auto job = ready_job(id);
      job.status = finish(job, JobState::dead, id, 10).status;
      job.payload = Payload::binary(std::string(40'000, 'x'));
      put(*store_, {job});
    }
  }
  /// As the store's thread does while nobody writes, until the file is shorter than `bytes`.
  bool shrinks_below(std::uintmax_t bytes) {
    const auto deadline = steady_clock::now() + std::chrono::seconds(60);
    while (steady_clock::now() < deadline) {
      const auto start = steady_clock::now();
      store_->maintain();
      longest_ = std::max(longest_, steady_clock::now() - start);
      if (fs::file_size(path_) < bytes) return true;
      std::this_thread::yield();
    }
    return false;
  }

  TempFolder folder_;
  std::string path_ = folder_.file("jobs.db");
  std::unique_ptr<SqliteStore> store_;
  steady_clock::duration longest_{};
};

TEST_F(SqliteShrink, WhatRetentionFreesGoesBack) {
  fill(1, 1200);
  store_->maintain();
  const auto full = fs::file_size(path_);
  ASSERT_GT(full, 40 * kMiB);

  Prune prune = prune_by_age(at(kEnqueuedAt + 5000), 500);
  prune.bytes_max = 100 * kMiB;
  std::size_t pruned = 0;
  do {
    const auto step = std::get<Pruned>(store_->load(prune));
    pruned += step.jobs;
    prune.from = step.next;
  } while (prune.from);
  ASSERT_EQ(pruned, 1200U);

  EXPECT_TRUE(shrinks_below(full / 2));
  EXPECT_LT(longest_, std::chrono::seconds(1));  // a few ms where nothing else runs
  store_.reset();
  SqliteStore again(fast_options(path_));
  EXPECT_EQ(again.start().last_job, JobId{1200});
}

TEST_F(SqliteShrink, FreePagesThatWillBeUsedAgainStay) {
  fill(1, 600);
  store_->maintain();
  const auto full = fs::file_size(path_);
  Prune prune = prune_by_age(at(kEnqueuedAt + 5000), 100);  // 1,000 pages of 6,000
  prune.bytes_max = 100 * kMiB;
  ASSERT_EQ(std::get<Pruned>(store_->load(prune)).jobs, 100U);

  reopen();  // it looks at the file at its next chance
  store_->maintain();
  store_.reset();  // moves all of the log into the file

  EXPECT_EQ(fs::file_size(path_), full);
}

}  // namespace
}  // namespace millrace::broker::testing

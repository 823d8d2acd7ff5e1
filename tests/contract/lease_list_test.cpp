// The list of leased jobs in the file of SqliteStore.

#include "broker/store/lease_list.h"

#include <gmock/gmock.h>

#include "broker/store/file_check.h"
#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<JobId> job_ids(std::initializer_list<std::uint64_t> values) {
  std::vector<JobId> ids;
  for (const std::uint64_t value : values) ids.push_back(JobId{value});
  return ids;
}

TEST(LeaseListRow, ComesBackAsItWasPacked) {
  const auto ids = job_ids({1, 2, 3, 130, 131, 16'600, 5'000'000'000, INT64_MAX});
  std::vector<JobId> read;

  const std::string bytes = pack_rising(ids);

  EXPECT_TRUE(unpack_rising(bytes, read));
  EXPECT_EQ(read, ids);
  EXPECT_LT(bytes.size(), 24U);
  EXPECT_EQ(pack_rising(job_ids({7, 8, 9})), "\x07\x01\x01");
}

TEST(LeaseListRow, ThatEndsWithinANumberIsDamaged) {
  std::vector<JobId> read;

  EXPECT_FALSE(unpack_rising("\x07\x81", read));
  EXPECT_FALSE(unpack_rising(std::string(10, '\xff') + '\x01', read));
}

class LeaseListFile : public ::testing::Test {
 protected:
  std::unique_ptr<SqliteStore> start() const {
    auto store = std::make_unique<SqliteStore>(fast_options(path_));
    leased_ = store->start().leased;
    return store;
  }
  void change(const char* sql) const {
    sqlite::Connection(path_, sqlite::Access::write, {}).execute(sql);
  }
  std::vector<JobId> listed() const {
    const sqlite::Connection connection(path_, sqlite::Access::read, {});
    return LeaseListReader(connection).listed();
  }
  std::vector<std::string> violations() const {
    std::vector<std::string> rules;
    check_file(path_, {.rows = {}, .on_job = {}},
               [&](const Violation& violation) { rules.push_back(violation.rule); });
    return rules;
  }

  TempFolder folder_;
  std::string path_ = folder_.file("jobs.db");
  mutable std::vector<JobRecord> leased_;  ///< as the last start found them
};

TEST_F(LeaseListFile, StaysShortHoweverManyJobsAreLeased) {
  constexpr std::size_t kAtOnce = 3;
  const auto store = start();
  WriteBatch first;
  first.lanes = {{kLane, "default", "sum", {}}};
  store->commit(first);
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
    longest = std::max(longest, listed().size());
  }

  EXPECT_LE(longest, 2 * kAtOnce + fast_options(path_).lease_list_slack);
  EXPECT_GT(longest, kAtOnce);
}

TEST_F(LeaseListFile, AStartKnowsHowLongTheListIs) {
  std::size_t longest = 0;

  for (std::uint64_t id = 1; id <= 60; ++id) {
    const auto store = start();
    WriteBatch batch;
    if (id == 1) batch.lanes = {{kLane, "default", "sum", {}}};
    batch.inserts = {leased_job(id, id)};
    batch.updates = {finish(batch.inserts[0], JobState::done, id)};
    count(batch);
    store->commit(batch);
    EXPECT_THAT(leased_, IsEmpty());
    longest = std::max(longest, listed().size());
  }

  EXPECT_LE(longest, fast_options(path_).lease_list_slack);
}

TEST_F(LeaseListFile, ADamagedListIsToldAndNotServed) {
  {
    const auto store = start();
    WriteBatch batch;
    batch.lanes = {{kLane, "default", "sum", {}}};
    batch.inserts = {leased_job(1, 1)};
    count(batch);
    store->commit(batch);
  }
  change("UPDATE lease_list SET jobs = x'81'");

  EXPECT_THAT(violations(), ::testing::Contains("lease"));
  EXPECT_EQ(thrown_code([&] { start(); }), ErrorCode::corrupt);
}

TEST_F(LeaseListFile, AFileOfVersionThreeListsItsLeasedJobs) {
  {
    const auto store = start();
    WriteBatch batch;
    batch.lanes = {{kLane, "default", "sum", {}}};
    batch.inserts = {ready_job(1), leased_job(2, 9), leased_job(3, 8), ready_job(4)};
    count(batch);
    store->commit(batch);
  }
  change(
      "DROP TABLE lease_list; CREATE INDEX job_leased ON job (lease) WHERE state = 3;"
      "UPDATE job SET ready_in = NULL WHERE state = 3; PRAGMA user_version = 3");

  const auto store = start();

  EXPECT_THAT(ids(leased_), ElementsAre(3, 2));
  EXPECT_EQ(listed(), job_ids({2, 3}));
  EXPECT_THAT(violations(), ::testing::Not(::testing::Contains("waiting")));
}

}  // namespace
}  // namespace millrace::broker::testing

// The ready jobs in the file of SqliteStore: what runs of ids become when jobs come and go.

#include "broker/store/ready_table.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "tests/contract/store_contract.h"
#include "tests/support/test_random.h"

namespace millrace::broker::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int kPriority = 100;

class ReadyTableFile : public ::testing::Test {
 protected:
  ReadyTableFile() : file_(made_by_a_store(), sqlite::Access::write, {}), table_(file_) {}

  using Ids = std::vector<std::uint64_t>;

  /// One transaction.
  void add_and_remove(const Ids& added, const Ids& removed, LaneId lane = kLane,
                      int priority = kPriority) {
    sqlite::Transaction transaction(file_, sqlite::Transaction::Kind::write);
    table_.begin();
    for (const std::uint64_t id : added) table_.add(lane, priority, JobId{id});
    for (const std::uint64_t id : removed) table_.remove(lane, priority, JobId{id});
    table_.write();
    transaction.commit();
  }
  void add(const Ids& ids, LaneId lane = kLane, int priority = kPriority) {
    add_and_remove(ids, {}, lane, priority);
  }
  void remove(const Ids& ids) { add_and_remove({}, ids); }
  std::vector<std::string> rows() const {
    std::vector<std::string> found;
    sqlite::Statement statement(
        file_, "SELECT lane, priority, first, last FROM ready ORDER BY lane, priority, last");
    auto rows = statement.run();
    while (rows.next())
      found.push_back(fmt::format("{}/{}: {}-{}", rows.integer(0), rows.integer(1), rows.integer(2),
                                  rows.integer(3)));
    return found;
  }
  std::set<std::uint64_t> jobs() const {
    std::set<std::uint64_t> found;
    sqlite::Statement statement(file_, "SELECT first, last FROM ready");
    auto rows = statement.run();
    while (rows.next())
      for (std::uint64_t id = rows.natural(0); id <= rows.natural(1); ++id)
        EXPECT_TRUE(found.insert(id).second) << id << " is in two runs";
    return found;
  }

 private:
  std::string made_by_a_store() const {
    std::string path = folder_.file("jobs.db");
    SqliteStore(fast_options(path)).start();
    return path;
  }

  TempFolder folder_;
  sqlite::Connection file_;
  ReadyTable table_;
};

TEST_F(ReadyTableFile, JobsThatFollowEachOtherAreOneRow) {
  add({1, 2, 3});
  add({4, 5});
  add({9, 8, 7});

  EXPECT_THAT(rows(), ElementsAre("1/100: 1-5", "1/100: 7-9"));
}

TEST_F(ReadyTableFile, LanesAndPrioritiesHaveRowsOfTheirOwn) {
  add({1, 2});
  add({3, 4}, LaneId{2});
  add({5}, kLane, 7);

  EXPECT_THAT(rows(), ElementsAre("1/7: 5-5", "1/100: 1-2", "2/100: 3-4"));
}

TEST_F(ReadyTableFile, LeasesTakeFromTheFrontOfARow) {
  add({1, 2, 3, 4, 5, 6});
  remove({1, 2});
  EXPECT_THAT(rows(), ElementsAre("1/100: 3-6"));
  remove({3, 4, 5, 6});
  EXPECT_THAT(rows(), IsEmpty());
}

TEST_F(ReadyTableFile, AJobFromTheMiddleLeavesTwoRows) {
  add({1, 2, 3, 4, 5});
  remove({3});
  EXPECT_THAT(rows(), ElementsAre("1/100: 1-2", "1/100: 4-5"));
  remove({5});
  EXPECT_THAT(rows(), ElementsAre("1/100: 1-2", "1/100: 4-4"));
}

TEST_F(ReadyTableFile, OneRunMayGoOverSeveralRows) {
  add({5, 6});
  add({3, 4});
  add({7, 8});
  ASSERT_THAT(rows(), ElementsAre("1/100: 3-4", "1/100: 5-8"));

  remove({4, 5, 6, 7});

  EXPECT_THAT(rows(), ElementsAre("1/100: 3-3", "1/100: 8-8"));
}

TEST_F(ReadyTableFile, AJobMayComeAndGoInOneTransaction) {
  add({1, 2});
  add_and_remove({3, 4}, {2, 3});
  EXPECT_THAT(rows(), ElementsAre("1/100: 1-1", "1/100: 4-4"));
}

TEST_F(ReadyTableFile, WhatIsReadyCannotBecomeReady) {
  add({3, 4, 5});

  for (const Ids& ids : std::vector<Ids>{{3}, {4}, {5}, {2, 3}, {5, 6}, {1, 2, 3, 4, 5, 6}})
    EXPECT_EQ(thrown_code([&] { add(ids); }), ErrorCode::internal);
  add({1, 2});
  EXPECT_EQ(thrown_code([&] { add({3, 4, 5}); }), ErrorCode::internal) << "next to a run, too";
  EXPECT_THAT(rows(), ElementsAre("1/100: 1-2", "1/100: 3-5"));
}

TEST_F(ReadyTableFile, WhatIsNotReadyCannotStopBeingSo) {
  add({3, 4, 7});

  for (const Ids& ids : std::vector<Ids>{{2}, {5}, {8}, {2, 3}, {4, 5}, {3, 4, 5, 6, 7}})
    EXPECT_EQ(thrown_code([&] { remove(ids); }), ErrorCode::internal);
  EXPECT_THAT(rows(), ElementsAre("1/100: 3-4", "1/100: 7-7"));
}

TEST_F(ReadyTableFile, AnyOrderOfComingAndGoing) {
  for (const std::uint64_t seed : test_seeds(5)) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TestRandom random(seed);
    std::set<std::uint64_t> expected = jobs();
    for (int step = 0; step < 200; ++step) {
      Ids added;
      Ids removed;
      const std::uint64_t from = 1 + random.below(60);
      const std::uint64_t end = from + random.below(12);
      for (std::uint64_t id = from; id < end; ++id)
        (expected.contains(id) ? removed : added).push_back(id);
      for (const std::uint64_t id : added) expected.insert(id);
      for (const std::uint64_t id : removed) expected.erase(id);
      add_and_remove(added, removed);
      ASSERT_EQ(jobs(), expected) << "after step " << step;
    }
  }
}

}  // namespace
}  // namespace millrace::broker::testing

// Each rule about a database file is shown to fire: a good file is spoilt in one way, and the check
// says so, under the right rule.

#include "broker/store/file_check.h"

#include <gmock/gmock.h>
#include <sqlite3.h>

#include <fstream>

#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;

constexpr std::uint64_t kLease = std::uint64_t{1} << 40;

AttemptRow run(std::uint64_t job, int number, const std::string& outcome) {
  return {JobId{job},
          number,
          WorkerId{1},
          at(kEnqueuedAt + 10L * number),
          at(kEnqueuedAt + 10L * number + 5),
          outcome,
          "no"};
}

/// Line `number` of the run of job 5.
OutputRow output(std::uint64_t number) {
  OutputRow row;
  row.seq = OutputSeq{number};
  row.job = JobId{5};
  row.lease = LeaseId{kLease + 5};
  row.n = number;
  row.at = at(kEnqueuedAt);
  row.data = Payload::text("line");
  return row;
}

/// 1 done at the second try, 2 dead after three, 3 rejected, 4 cancelled, 5 and 6 leased, 7 waits
/// for its retry, 8 ready; all in batch 1. 9 is alone. The start of 6 is written. 5 has written two
/// lines. Queue `over` is drained.
WriteBatch good_rows() {
  WriteBatch batch;
  batch.lanes = {{kLane, "default", "sum", {}}, {LaneId{2}, "over", "sum", {}}};
  batch.queues = {{.name = "default"}, {.name = "over", .state = QueueState::drained}};
  batch.workers = {{WorkerId{1}, "s", "w", "h", 1, at(kEnqueuedAt), {}}};
  batch.requests = {{{7, 1}, 1, BatchId{1}, JobId{1}, 8, {}, {}, at(kEnqueuedAt)},
                    {{7, 2}, 1, BatchId{9}, JobId{9}, 1, {}, {}, at(kEnqueuedAt)}};
  for (std::uint64_t id = 1; id <= 9; ++id) {
    batch.inserts.push_back(id <= 6 ? leased_job(id, kLease + id) : ready_job(id));
    batch.inserts.back().status.worker = WorkerId{1};
  }
  batch.inserts[0].payload = Payload::text("{}");
  batch.inserts[6] = scheduled_job(7, 60'000);
  batch.inserts[8].spec.batch = BatchId{9};
  batch.inserts[5].status.started_at = at(kEnqueuedAt + 1);
  JobStatus& retried = batch.inserts[6].status;
  retried.lease = LeaseId{kLease + 7};
  retried.deliveries = 2;
  retried.attempts = retried.crashes = 1;
  batch.attempts = {run(1, 1, "nack"), run(2, 1, "nack"),   run(2, 2, "timeout"),
                    run(2, 3, "nack"), run(3, 1, "reject"), run(7, 1, "crash"),
                    run(7, 2, "nack")};
  batch.batches = {{.id = BatchId{1},
                    .sealed = true,
                    .owner = {},
                    .total = 8,
                    .open = 4,
                    .done = 1,
                    .dead = 2,
                    .cancelled = 1,
                    .created_at = at(kEnqueuedAt)}};
  batch.outputs = {output(1), output(2)};
  batch.last_output = OutputSeq{2};
  count(batch);
  return batch;
}

std::vector<JobUpdate> good_ends(const std::vector<JobInsert>& jobs) {
  std::vector<JobUpdate> ends = {
      finish(jobs[0], JobState::done, 1), finish(jobs[1], JobState::dead, 2),
      finish(jobs[2], JobState::dead, 3), finish(jobs[3], JobState::cancelled, 4)};
  ends[0].status.deliveries = ends[0].status.attempts = 2;
  ends[1].status.deliveries = ends[1].status.attempts = 3;
  ends[2].status.attempts = 1;
  return ends;
}

class FileCheck : public ::testing::Test {
 protected:
  FileCheck() {
    const WriteBatch rows = good_rows();
    SqliteStore store(fast_options(path_));
    store.start();
    store.commit(rows);
    put(store, rows.inserts, good_ends(rows.inserts));
  }
  void spoil(const std::string& sql) const {
    sqlite3* handle = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &handle), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(handle) << ": " << sql;
    sqlite3_close(handle);
  }
  std::vector<std::string> rules(const FileCheckOptions& options = {}) const {
    std::vector<std::string> found;
    summary_ = check_file(path_, options, [&](const Violation& violation) {
      EXPECT_FALSE(violation.text.empty());
      found.push_back(violation.rule);
      told_ += violation.rule + ": " + violation.text + "\n";
    });
    return found;
  }

  TempFolder folder_;
  std::string path_ = folder_.file("jobs.db");
  mutable FileSummary summary_;
  mutable std::string told_;
};

TEST_F(FileCheck, AGoodFileIsGood) {
  std::vector<std::uint64_t> seen;
  FileCheckOptions options;
  options.on_job = [&](JobId id, std::optional<JobState> state) {
    EXPECT_TRUE(state);
    seen.push_back(id.value);
  };

  EXPECT_THAT(rules(options), IsEmpty()) << told_;

  EXPECT_THAT(seen, ::testing::ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9));
  EXPECT_EQ(summary_.jobs, 9U);
  EXPECT_EQ(summary_.epoch, 1U);
  EXPECT_THAT(summary_.states, ::testing::ElementsAre(0, 1, 2, 2, 1, 2, 1, 0));
}

TEST_F(FileCheck, JobsThatRetentionRemovedAreNotMissed) {
  spoil(
      "DELETE FROM attempt WHERE job = 2; DELETE FROM job WHERE id = 2; DELETE FROM status WHERE "
      "id = 2; DELETE FROM lease WHERE job = 2;"
      "UPDATE lane SET dead = 1 WHERE id = 1");

  EXPECT_THAT(rules(), IsEmpty()) << told_;
  EXPECT_THAT(rules({.rows = {.complete = true}, .on_job = {}}), Contains("batch"));
}

TEST_F(FileCheck, AClockThatWasSetIsNoDamage) {
  spoil("UPDATE status SET finished_at = 5 WHERE id = 1");

  EXPECT_THAT(rules(), Contains("time"));
  EXPECT_THAT(rules({.rows = {.times = false}, .on_job = {}}), IsEmpty());
}

TEST_F(FileCheck, ARecordedRequestThatOnlySealedHasNoIds) {
  spoil(
      "INSERT INTO request (prefix, counter, body_hash, batch, first, count, at) "
      "VALUES (7, 3, 1, 1, 0, 0, 1)");

  EXPECT_THAT(rules(), IsEmpty()) << told_;
}

TEST_F(FileCheck, WhileAStoreHasTheFileOpenItReads) {
  SqliteStore store(fast_options(path_));
  store.start();
  put(store, {ready_job(10)});

  EXPECT_THAT(rules(), Contains("batch"));  // the job that was put into it is not counted there
  EXPECT_EQ(summary_.jobs, 10U);
  EXPECT_EQ(summary_.epoch, 2U);
}

TEST_F(FileCheck, AFileThatIsNotThereIsNamed) {
  EXPECT_EQ(thrown_code([&] { check_file(path_ + "x", {}, [](const Violation&) {}); }),
            ErrorCode::no_input);
}

TEST_F(FileCheck, WhatIsNotOursOrNewerIsRefused) {
  const auto check = [&] { check_file(path_, {}, [](const Violation&) {}); };
  spoil("PRAGMA user_version = 99");
  EXPECT_EQ(thrown_code(check), ErrorCode::foreign_file);
  spoil("PRAGMA user_version = 1; PRAGMA application_id = 7");
  EXPECT_EQ(thrown_code(check), ErrorCode::foreign_file);
  std::ofstream(path_) << "Dear diary, nothing happened today either. " << std::string(1000, '.');
  EXPECT_EQ(thrown_code(check), ErrorCode::foreign_file);
}

TEST_F(FileCheck, RowsOfAnOlderFormatAreNotJudged) {
  spoil("PRAGMA user_version = 1; UPDATE lane SET ready = 77");

  EXPECT_THAT(rules(), IsEmpty());
  EXPECT_FALSE(summary_.rows_checked);
}

TEST_F(FileCheck, APageThatWasOverwrittenIsFound) {
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(5L * 4096, '\x5a');
  file.close();

  EXPECT_THAT(rules(), Contains("integrity"));
}

struct Spoilt {
  const char* name;
  const char* rule;
  const char* sql;
};
void PrintTo(const Spoilt& spoilt, std::ostream* out) { *out << spoilt.sql; }

class SpoiltFile : public FileCheck, public ::testing::WithParamInterface<Spoilt> {};

TEST_P(SpoiltFile, IsFoundOut) {
  spoil(GetParam().sql);

  EXPECT_THAT(rules(), Contains(GetParam().rule)) << told_;
}

constexpr Spoilt kSpoilt[] = {
    {"StateThatIsNone", "state", "UPDATE status SET state = 8 WHERE id = 7"},
    {"IdAboveTheMark", "id", "UPDATE meta SET last_job = 8"},
    {"ReplayOfALaterJob", "id", "UPDATE job SET replay_of = 9 WHERE id = 8"},
    {"FlippedPayload", "checksum", "UPDATE job SET payload = '{]' WHERE id = 1"},
    {"FlippedSpec", "checksum", "UPDATE job SET priority = 99 WHERE id = 8"},
    {"FlippedResult", "checksum", "UPDATE status SET result = 'resolt 1' WHERE id = 1"},
    {"LostResult", "checksum", "UPDATE status SET result = NULL WHERE id = 1"},
    {"EndWithoutACursor", "end", "UPDATE status SET finish_seq = NULL WHERE id = 4"},
    {"EndWithoutATime", "end", "UPDATE status SET finished_at = 0 WHERE id = 4"},
    {"OpenJobWithAnEnd", "end", "UPDATE status SET finish_seq = 5 WHERE id = 7"},
    {"OpenJobWithATime", "end", "UPDATE status SET finished_at = 5 WHERE id = 7"},
    {"TwoEndsAtOneCursor", "cursor", "UPDATE status SET finish_seq = 1 WHERE id = 4"},
    {"CursorAboveTheMark", "cursor", "UPDATE meta SET last_finish = 3"},
    {"LeasedWithoutALease", "lease", "UPDATE status SET lease = 0 WHERE id = 6"},
    {"LeasedToNobody", "lease", "UPDATE lease SET worker = 9 WHERE job = 5"},
    {"TwoJobsUnderOneLease", "lease", "UPDATE lease SET lease = (1 << 40) + 6 WHERE job = 5"},
    {"LeaseOfALaterEpoch", "lease", "UPDATE lease SET lease = (2 << 40) + 5 WHERE job = 5"},
    {"LeaseWithoutADelivery", "lease", "UPDATE status SET deliveries = 0 WHERE id = 7"},
    {"TooManyAttempts", "attempts", "UPDATE job SET max_attempts = 2 WHERE id = 2"},
    {"TooManyCrashes", "attempts", "UPDATE status SET crashes = 4, deliveries = 9 WHERE id = 7"},
    {"RunsWithoutDeliveries", "attempts", "UPDATE status SET deliveries = 1 WHERE id = 7"},
    {"RedriveAboveTheAttempts", "attempts", "UPDATE status SET attempts_base = 4 WHERE id = 7"},
    {"MissingRun", "run", "DELETE FROM attempt WHERE job = 2 AND attempt = 3"},
    {"GapBetweenRuns", "run", "UPDATE attempt SET attempt = 4 WHERE job = 2 AND attempt = 3"},
    {"OutcomeThatIsNone", "run", "UPDATE attempt SET outcome = 'lost' WHERE job = 3"},
    {"CrashThatIsNotCounted", "run", "UPDATE attempt SET outcome = 'crash' WHERE job = 3"},
    {"RunOfNoJob", "run", "UPDATE attempt SET job = 10 WHERE job = 3"},
    {"RunThatEndedBeforeItBegan", "time", "UPDATE attempt SET started_at = 1 << 50 WHERE job = 3"},
    {"RunsOutOfOrder", "time",
     "UPDATE attempt SET started_at = 1, finished_at = 2 WHERE job = 2 AND attempt = 2"},
    {"EndBeforeTheLastRun", "time", "UPDATE status SET finished_at = 1700000000000 WHERE id = 2"},
    {"EndBeforeItsStart", "time", "UPDATE status SET started_at = 1 << 50 WHERE id = 1"},
    {"DoneWithoutAnAttempt", "outcome", "UPDATE status SET attempts_base = 2 WHERE id = 1"},
    {"DoneWithAnError", "outcome", "UPDATE status SET error = 'no' WHERE id = 1"},
    {"ResultOfAFailure", "outcome", "UPDATE status SET result = 'x' WHERE id = 2"},
    {"DeadForNoReason", "outcome", "UPDATE job SET max_attempts = 4 WHERE id = 2"},
    {"JobOfNoLane", "lane", "UPDATE job SET lane = 9 WHERE id = 8"},
    {"LaneThatMiscounts", "lane", "UPDATE lane SET ready = ready + 1 WHERE id = 1"},
    {"LaneThatForgot", "lane", "DELETE FROM job WHERE id = 9"},
    {"LaneThatMiscountsBytes", "lane", "UPDATE lane SET done_bytes = done_bytes + 1 WHERE id = 1"},
    {"KeyThatNoJobKnowsOf", "unique",
     "INSERT INTO unique_key (queue, key, job, until) VALUES ('default', 'k', 8, 0)"},
    {"KeyOfAJobThatNeverWas", "unique",
     "INSERT INTO unique_key (queue, key, job, until) VALUES ('default', 'k', 99, 5)"},
    {"KeyThatIsNotThere", "unique", "UPDATE status SET unique_held = 1 WHERE id = 7"},
    {"KeyOfAnEndedJob", "unique", "UPDATE status SET unique_held = 1 WHERE id = 4"},
    {"OutputOfNoJob", "output", "UPDATE output SET job = 99 WHERE seq = 1"},
    {"OutputAboveTheMark", "output", "UPDATE meta SET last_output = 1"},
    {"OutputNumberedTwice", "output", "UPDATE output SET n = 1"},
    {"JobOfNoBatch", "batch", "UPDATE job SET batch = 2 WHERE id = 8"},
    {"BatchOfALaterJob", "batch", "UPDATE job SET batch = 9 WHERE id = 8"},
    {"BatchThatDoesNotAddUp", "batch", "UPDATE batch SET total = 9"},
    {"BatchWithTooFewOpenJobs", "batch", "DELETE FROM job WHERE id = 8"},
    {"BatchThatMiscountsItsEnds", "batch", "UPDATE batch SET done = 2, dead = 1"},
    {"DrainedWithOpenJobs", "drained", "UPDATE queue SET state = 2"},
    {"QueueStateThatIsNone", "queue", "UPDATE queue SET state = 3 WHERE name = 'default'"},
    {"QueueBeforeItsFirstGeneration", "queue", "UPDATE queue SET generation = 0"},
    {"ReadyJobThatIsNotAmongThem", "waiting", "DELETE FROM ready WHERE first = 8"},
    {"ReadyUnderAnotherPriority", "waiting", "UPDATE ready SET priority = 7 WHERE first = 8"},
    {"EndedJobAmongTheReadyOnes", "waiting", "INSERT INTO ready VALUES (1, 100, 4, 4)"},
    {"NoJobAmongTheReadyOnes", "waiting", "INSERT INTO ready VALUES (1, 100, 77, 77)"},
    {"LeasedJobAmongTheReadyOnes", "waiting", "INSERT INTO ready VALUES (1, 100, 5, 5)"},
    {"RunsThatOverlap", "waiting", "INSERT INTO ready VALUES (1, 100, 8, 8)"},
    {"RunThatBeginsTooEarly", "waiting", "UPDATE ready SET first = 7 WHERE first = 8"},
    {"FirstLeaseThatIsLost", "waiting", "DELETE FROM lease WHERE job = 5"},
    {"LeasedJobWithoutItsRow", "lease", "DELETE FROM lease WHERE job = 6"},
    {"SecondLeaseThatNoStatusKnows", "lease", "UPDATE lease SET lease = lease + 9 WHERE job = 6"},
    {"LeaseOfAnEndedJob", "lease", "UPDATE lease SET lease = lease + 9 WHERE job = 1"},
    {"LeaseOfNoJob", "lease", "INSERT INTO lease VALUES (77, 1, 1)"},
    {"StatusOfNoJob", "status", "UPDATE status SET id = 77 WHERE id = 4"},
    {"StatusOfAnotherBatch", "status", "UPDATE status SET batch = 9 WHERE id = 4"},
    {"EndedJobThatStillGivesUp", "waiting", "UPDATE status SET gives_up_at = 5 WHERE id = 4"},
    {"ReadyJobThatNeverGivesUp", "waiting", "UPDATE job SET expires_at = 5 WHERE id = 8"},
    {"OneIdForTwoRequests", "request", "UPDATE request SET first = 8 WHERE counter = 2"},
    {"IdThatWasNeverGiven", "request", "UPDATE request SET count = 2 WHERE counter = 2"},
};
INSTANTIATE_TEST_SUITE_P(Each, SpoiltFile, ::testing::ValuesIn(kSpoilt),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace millrace::broker::testing

// SqliteStore: retention, in steps small enough to run between two commits.

#include <algorithm>
#include <limits>
#include <map>

#include "broker/store/sqlite_statements.h"
#include "common/util/instrument.h"

namespace millrace::broker {
namespace {

struct Ended {
  JobId id;
  LaneId lane;
  JobState state;
};

constexpr std::size_t kLooksPerJob = 10;

std::vector<LaneDelta> deltas_of(const std::vector<Ended>& jobs) {
  std::map<LaneId, StateDeltas> lanes;
  for (const Ended& job : jobs) --lanes[job.lane].at(static_cast<std::size_t>(job.state));
  std::vector<LaneDelta> deltas;
  deltas.reserve(lanes.size());
  for (const auto& [lane, changes] : lanes) deltas.push_back({lane, changes});
  return deltas;
}

}  // namespace

Loaded SqliteStore::answer(const Prune& prune) {
  return with_space([&]() -> Loaded {
    Pruned pruned;
    {
      sqlite::Transaction transaction(connection_, sqlite::Transaction::Kind::write);
      pruned = prune_jobs(prune);
      if (!pruned.next) prune_workers();
      prune_requests(prune);
      if (pruned.jobs > 0) instrument::crash_point("broker.before_prune");
      transaction.commit();
    }
    if (pruned.jobs > 0) instrument::crash_point("broker.after_prune");
    shrink_file();
    return pruned;
  });
}

Pruned SqliteStore::prune_jobs(const Prune& prune) {
  if (!prune.from) walk_ = {.whole = true, .finished_before = prune.finished_before, .workers = {}};
  const std::size_t rows_max = prune.jobs_max * kLooksPerJob;
  std::vector<Ended> ended;
  std::vector<BatchId> batches;
  std::size_t seen = 0;
  std::size_t young = 0;  // in a row: one wrong clock must not stop the walk
  JobId last;
  {
    auto rows = statements_->walk_jobs.run(prune.from, rows_max);
    while (ended.size() < prune.jobs_max && young < prune.jobs_max && rows.next()) {
      ++seen;
      last = rows.id<JobId>(0);
      const JobState state = checked_state(last, rows.integer(1));
      young = rows.time(4) < prune.finished_before ? 0 : young + 1;
      if (is_final(state) && rows.time(7) < prune.finished_before) {
        ended.push_back({last, rows.id<LaneId>(2), state});
        batches.push_back(rows.id<BatchId>(3));
      } else {
        remember_workers(prune, last, rows.id<WorkerId>(5), rows.integer(6) > 0);
      }
    }
  }
  for (const Ended& job : ended) {
    statements_->delete_attempts.execute(job.id);
    statements_->delete_job.execute(job.id);
  }
  Pruned pruned{.deltas = deltas_of(ended), .jobs = ended.size(), .next = {}};
  apply_deltas(pruned.deltas);
  prune_batches(batches, prune.finished_before);
  const bool more = ended.size() == prune.jobs_max || seen == rows_max;
  if (more && young < prune.jobs_max) pruned.next = JobId{last.value + 1};
  return pruned;
}

void SqliteStore::remember_workers(const Prune& prune, JobId job, WorkerId worker,
                                   bool has_attempts) {
  // A walk that goes on with an earlier limit would miss jobs between the two.
  if (prune.finished_before < walk_.finished_before) walk_.whole = false;
  if (!walk_.whole) return;
  walk_.workers.insert(worker);
  if (!has_attempts) return;
  auto rows = statements_->attempt_workers.run(job);
  while (rows.next()) walk_.workers.insert(rows.id<WorkerId>(0));
}

void SqliteStore::prune_batches(const std::vector<BatchId>& batches, Time before) {
  // Only a batch that has just lost jobs can have lost its last one.
  std::vector<BatchId> distinct = batches;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  for (const BatchId batch : distinct) statements_->delete_batch.execute(batch, before);
}

void SqliteStore::prune_workers() {
  constexpr std::size_t kWorkersMax = 1000;
  if (!walk_.whole) return;
  // Whoever left before the limit ran only jobs that were enqueued before it, and the walk has seen
  // all of those that are left. One whose end was never written left before this start at the
  // latest.
  std::vector<WorkerId> gone;
  {
    auto rows = statements_->walk_workers.run();
    while (gone.size() < kWorkersMax && rows.next()) {
      const auto id = rows.id<WorkerId>(0);
      const bool unknown_end = rows.integer(1) == 0;
      if (unknown_end && id > last_worker_at_start_) continue;
      const Time left_at = unknown_end ? started_at_ : rows.time(1);
      if (left_at < walk_.finished_before && !walk_.workers.contains(id)) gone.push_back(id);
    }
  }
  for (const WorkerId id : gone) statements_->delete_worker.execute(id);
  walk_ = {};
}

void SqliteStore::prune_requests(const Prune& prune) {
  // Within a prefix the counters rise with time, so each prefix is cut from its low end.
  std::size_t looks = prune.jobs_max * kLooksPerJob;
  while (looks > 0) {
    std::int64_t prefix = 0;
    {
      auto rows = statements_->next_prefix.run(request_prefix_);
      if (!rows.next()) {
        request_prefix_ = kFirstPrefix;
        return;
      }
      prefix = rows.integer(0);
    }
    --looks;
    std::vector<std::int64_t> old;
    bool young = false;
    {
      auto rows = statements_->walk_requests.run(prefix, looks);
      while (!young && rows.next()) {
        young = rows.time(1) >= prune.requests_before;
        if (!young) old.push_back(rows.integer(0));
      }
    }
    for (const std::int64_t counter : old) statements_->delete_request.execute(prefix, counter);
    looks -= old.size();
    if (looks == 0) return;  // the rest of this prefix is for the next step
    if (prefix == std::numeric_limits<std::int64_t>::max()) {
      request_prefix_ = kFirstPrefix;
      return;
    }
    request_prefix_ = prefix + 1;
  }
}

void SqliteStore::shrink_file() {
  constexpr std::int64_t kFreePagesMin = 4096;
  // Free pages are used again; only when they are most of the file some go back.
  const std::int64_t free = connection_.integer("PRAGMA freelist_count");
  if (free < kFreePagesMin) return;
  if (free * 2 > connection_.integer("PRAGMA page_count"))
    connection_.execute("PRAGMA incremental_vacuum(200)");
}

}  // namespace millrace::broker

// SqliteStore: retention, in steps small enough to run between two commits.

#include <algorithm>
#include <limits>

#include "broker/store/prune_rules.h"
#include "broker/store/sqlite_statements.h"
#include "common/util/instrument.h"

namespace millrace::broker {
namespace {

std::uint64_t number(sqlite::Rows rows) { return rows.next() ? rows.natural(0) : 0; }

}  // namespace

Loaded SqliteStore::answer(const Prune& prune) {
  return with_space([&]() -> Loaded {
    sqlite::Transaction transaction(connection_, sqlite::Transaction::Kind::write);
    Pruned pruned = prune_jobs(prune);
    // More of them than fit one step: the walk over the jobs waits where it is.
    if (!prune_unique(prune) && !pruned.next)
      pruned.next = JobId{std::max<std::uint64_t>(prune.from.value, 1)};
    if (!pruned.next) prune_workers();
    prune_requests(prune);
    if (pruned.jobs > 0) instrument::crash_point("broker.before_prune");
    transaction.commit();
    if (pruned.jobs > 0) instrument::crash_point("broker.after_prune");
    return pruned;
  });
}

Pruned SqliteStore::prune_jobs(const Prune& prune) {
  if (!prune.from) walk_ = {.whole = true, .finished_before = prune.finished_before, .workers = {}};
  const std::size_t rows_max = prune.jobs_max * kPruneLooksPerJob;
  PruneRules rules(prune);
  std::vector<JobId> ended;
  std::vector<BatchId> batches;
  std::size_t seen = 0;
  std::size_t young = 0;  // in a row: one wrong clock must not stop the walk
  JobId last;
  {
    auto rows = statements_->walk_jobs.run(prune.from, rows_max);
    while (!rules.is_full() && young < prune.jobs_max && rows.next()) {
      ++seen;
      last = rows.id<JobId>(0);
      const JobState state = checked_state(last, rows.integer(1));
      const auto lane = rows.id<LaneId>(2);
      young = rows.time(4) < prune.finished_before || rules.has_excess() ? 0 : young + 1;
      if (rules.takes(lane, state, rows.time(7))) {
        ended.push_back(last);
        batches.push_back(rows.id<BatchId>(3));
        rules.take(lane, state, rows.natural(8) + number(statements_->result_bytes.run(last)),
                   number(statements_->output_bytes.run(last)));
      } else {
        remember_workers(prune, last, rows.id<WorkerId>(5), rows.integer(6) > 0);
      }
    }
  }
  delete_jobs(ended);
  Pruned pruned{.deltas = rules.deltas(), .jobs = rules.jobs(), .next = {}};
  apply_deltas(pruned.deltas);
  prune_batches(batches, std::max(prune.finished_before, prune.requests_before));
  const bool more = rules.is_full() || seen == rows_max;
  if (more && young < prune.jobs_max) pruned.next = JobId{last.value + 1};
  return pruned;
}

void SqliteStore::delete_jobs(const std::vector<JobId>& jobs) {
  for (const JobId job : jobs) {
    statements_->delete_attempts.execute(job);
    statements_->delete_outputs.execute(job);
    statements_->delete_lease.execute(job);
    statements_->delete_status.execute(job);
    statements_->delete_job.execute(job);
  }
}

/// False when there may be more.
bool SqliteStore::prune_unique(const Prune& prune) {
  const std::size_t rows_max = prune.jobs_max * kPruneLooksPerJob;
  std::vector<UniqueRow> old;
  {
    auto rows = statements_->old_unique.run(prune.unique_before, rows_max);
    while (rows.next()) old.push_back(read_unique(rows));
  }
  for (const UniqueRow& row : old)
    statements_->release_unique.execute(row.queue, row.key, row.job, row.until);
  return old.size() < rows_max;
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
  std::size_t looks = prune.jobs_max * kPruneLooksPerJob;
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

}  // namespace millrace::broker

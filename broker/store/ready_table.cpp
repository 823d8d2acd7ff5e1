#include "broker/store/ready_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::broker {
namespace {

JobId before(JobId job) { return JobId{job.value - 1}; }
JobId after(JobId job) { return JobId{job.value + 1}; }

}  // namespace

ReadyTable::ReadyTable(const sqlite::Connection& connection)
    : find_(connection,
            "SELECT first, last FROM ready WHERE lane = ?1 AND priority = ?2 AND last >= ?3 "
            "ORDER BY last LIMIT 1"),
      erase_(connection,
             "DELETE FROM ready WHERE lane = ?1 AND priority = ?2 AND last = ?4 AND first = ?3"),
      insert_(connection, "INSERT OR ROLLBACK INTO ready (lane, priority, last, first)",
              "(?, ?, ?, ?)") {}

void ReadyTable::write() {
  std::vector<Run> added = runs_of(added_);
  for (Run& run : added) run = joined(run);
  insert(added);
  // After them: a job may come and go within one transaction.
  for (const Run& run : runs_of(removed_)) take_out(run);
}

std::vector<ReadyTable::Run> ReadyTable::runs_of(std::vector<Place>& places) {
  // Most often they are: jobs come, and are leased, in this order.
  if (!std::is_sorted(places.begin(), places.end())) std::sort(places.begin(), places.end());
  std::vector<Run> runs;
  for (const auto& [lane, priority, job] : places) {
    const bool goes_on = !runs.empty() && runs.back().lane == lane &&
                         runs.back().priority == priority && after(runs.back().last) == job;
    if (goes_on)
      runs.back().last = job;
    else
      runs.push_back({lane, priority, job, job});
  }
  return runs;
}

std::optional<ReadyTable::Run> ReadyTable::find(LaneId lane, int priority, JobId job) {
  auto rows = find_.run(lane, priority, job);
  if (!rows.next()) return std::nullopt;
  return Run{lane, priority, rows.id<JobId>(0), rows.id<JobId>(1)};
}

/// `run` and the one that ends where it begins, which is taken out.
ReadyTable::Run ReadyTable::joined(const Run& run) {
  Run whole = run;
  auto next = find(run.lane, run.priority, before(run.first));
  if (next && after(next->last) == run.first) {
    erase(*next);
    whole.first = next->first;
    next = find(run.lane, run.priority, run.first);
  }
  if (next && next->first <= run.last)
    throw StoreError(ErrorCode::internal,
                     fmt::format("some of the jobs {} to {} of lane {} with priority {} are ready, "
                                 "so they cannot become it",
                                 run.first.value, run.last.value, run.lane.value, run.priority));
  return whole;
}

void ReadyTable::insert(const std::vector<Run>& runs) {
  insert_.insert(runs, [](sqlite::Statement& statement, int parameter, const Run& run) {
    return statement.bind_from(parameter, run.lane, run.priority, run.last, run.first);
  });
}

void ReadyTable::take_out(const Run& run) {
  if (erase(run)) return;
  for (JobId job = run.first; job <= run.last;) {
    const auto row = find(run.lane, run.priority, job);
    if (!row || row->first > job)
      throw StoreError(ErrorCode::internal,
                       fmt::format("not all of the jobs {} to {} of lane {} with priority {} are "
                                   "ready, so they cannot be leased",
                                   job.value, run.last.value, run.lane.value, run.priority));
    erase(*row);
    std::vector<Run> rest;
    if (row->first < job) rest.push_back({row->lane, row->priority, row->first, before(job)});
    if (row->last > run.last)
      rest.push_back({row->lane, row->priority, after(run.last), row->last});
    insert(rest);
    job = after(row->last);
  }
}

/// False when there is no such row.
bool ReadyTable::erase(const Run& run) {
  return erase_.execute(run.lane, run.priority, run.first, run.last) == 1;
}

}  // namespace millrace::broker

#include "tests/support/store_audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <stdexcept>

namespace millrace::broker {
namespace {

template <class... Values>
void require(bool holds, fmt::format_string<Values...> text, Values&&... values) {
  if (!holds) throw std::runtime_error(fmt::format(text, std::forward<Values>(values)...));
}

/// What the jobs of a batch add up to.
struct Totals {
  std::uint64_t total = 0;
  StateCounts counts{};
};

void check_job(const JobRecord& job) {
  const JobStatus& status = job.status;
  require(is_final(status.state) == static_cast<bool>(status.finish_seq),
          "job {} is {} with finish_seq {}", job.id.value, to_string(status.state),
          status.finish_seq.value);
  require(is_final(status.state) == (status.finished_at != Time{}), "job {} is {} with an end",
          job.id.value, to_string(status.state));
  require(status.state != JobState::leased || status.lease, "job {} is leased without a lease",
          job.id.value);
  require(status.attempts - status.attempts_base <= job.spec.max_attempts,
          "job {} had {} attempts of {}", job.id.value, status.attempts, job.spec.max_attempts);
  require(status.attempts + status.crashes <= status.deliveries,
          "job {} ran {}+{} times with {} deliveries", job.id.value, status.attempts,
          status.crashes, status.deliveries);
  require(status.crashes - status.crashes_base <= kCrashesMaxDefault, "job {} crashed {} times",
          job.id.value, status.crashes);
}

void check_lanes(const MemoryState& disk, const std::map<LaneId, StateCounts>& rows) {
  for (const auto& [id, lane] : disk.lanes) {
    const auto found = rows.find(id);
    const StateCounts counts = found == rows.end() ? StateCounts{} : found->second;
    for (std::size_t state = 0; state < kJobStateCount; ++state)
      require(lane.counts.at(state) == counts.at(state), "lane {}/{} counts {} {}, has {}",
              lane.queue, lane.kind, lane.counts.at(state), to_string(static_cast<JobState>(state)),
              counts.at(state));
  }
}

void check_batch(const BatchRow& batch, const Totals& rows) {
  const auto count = [&](JobState state) {
    return rows.counts.at(static_cast<std::size_t>(state));
  };
  const std::uint64_t open = count(JobState::blocked) + count(JobState::scheduled) +
                             count(JobState::ready) + count(JobState::leased);
  const bool same = batch.open == open && batch.done == count(JobState::done) &&
                    batch.dead == count(JobState::dead) &&
                    batch.cancelled == count(JobState::cancelled) && batch.total == rows.total;
  require(
      same,
      "batch {} says {} of {} open, {} done, {} dead, {} cancelled; its jobs are {} of {} open, "
      "{} done, {} dead, {} cancelled",
      batch.id.value, batch.open, batch.total, batch.done, batch.dead, batch.cancelled, open,
      rows.total, count(JobState::done), count(JobState::dead), count(JobState::cancelled));
}

}  // namespace

void StoreAudit::note(const WriteBatch& writes, const MemoryState& after) {
  highest_before_ = highest_;
  for (const JobInsert& job : writes.inserts) note_lease(job.id, job.status);
  for (const JobUpdate& job : writes.updates) note_lease(job.id, job.status);
  for (const JobInsert& job : writes.inserts) note_end(job.id, job.status);
  for (const JobUpdate& job : writes.updates) note_end(job.id, job.status);
  std::set<JobId> written;
  for (const JobUpdate& job : writes.updates)
    require(written.insert(job.id).second, "two updates of job {} in one batch", job.id.value);
  for (const JobInsert& job : writes.inserts)
    require(written.insert(job.id).second, "insert and update of job {} in one batch",
            job.id.value);
  require(after.last_finish >= last_finish_, "finish_seq went back to {}", after.last_finish.value);
  last_finish_ = after.last_finish;
}

void StoreAudit::restart(const MemoryState& disk) {
  for (const auto& [id, job] : disk.jobs) {
    const JobStatus& status = job.record.status;
    leases_[id] = status.lease;
    highest_ = std::max(highest_, status.lease);
    if (is_final(status.state)) ended_[id] = status.finish_seq;
  }
}

void StoreAudit::note_lease(JobId job, const JobStatus& status) {
  LeaseId& last = leases_[job];
  if (status.lease == last) return;
  require(status.lease > highest_before_, "lease {} of job {} is not above {}", status.lease.value,
          job.value, highest_before_.value);
  last = status.lease;
  highest_ = std::max(highest_, status.lease);
}

void StoreAudit::note_end(JobId job, const JobStatus& status) {
  if (!is_final(status.state)) return;
  // Made ready again and ended within one transaction, it shows only its new end.
  FinishSeq& last = ended_[job];
  require(status.finish_seq > last, "job {} ends a second time, at {} and {}", job.value,
          last.value, status.finish_seq.value);
  last = status.finish_seq;
}

void StoreAudit::check(const MemoryState& disk, bool jobs_deleted) const {
  std::map<LaneId, StateCounts> lanes;
  std::map<BatchId, Totals> batches;
  std::set<FinishSeq> ends;
  for (const auto& [id, job] : disk.jobs) {
    check_job(job.record);
    const auto state = static_cast<std::size_t>(job.record.status.state);
    ++lanes[job.record.spec.lane].at(state);
    Totals& batch = batches[job.record.spec.batch];
    ++batch.total;
    ++batch.counts.at(state);
    if (job.record.status.finish_seq)
      require(ends.insert(job.record.status.finish_seq).second, "two jobs end at {}",
              job.record.status.finish_seq.value);
    require(id <= disk.last_job, "job {} is above the high-water mark", id.value);
  }
  require(ends.empty() || *ends.rbegin() <= disk.last_finish, "an end above the high-water mark");
  check_lanes(disk, lanes);
  if (jobs_deleted) return;
  for (const auto& [id, batch] : disk.batches) check_batch(batch, batches[id]);
}

}  // namespace millrace::broker

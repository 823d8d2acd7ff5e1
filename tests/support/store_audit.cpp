#include "tests/support/store_audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <vector>

#include "broker/store/row_check.h"

namespace millrace::broker {
namespace {

template <class... Values>
void require(bool holds, fmt::format_string<Values...> text, Values&&... values) {
  if (!holds) throw std::runtime_error(fmt::format(text, std::forward<Values>(values)...));
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

void StoreAudit::check(const MemoryState& disk, bool complete) const {
  RowCheck check({disk.epoch, disk.last_job, disk.last_finish, disk.last_output},
                 {.times = false, .complete = complete}, [](const Violation& found) {
                   throw std::runtime_error(fmt::format("{}: {}", found.rule, found.text));
                 });
  for (const auto& [id, lane] : disk.lanes) check.add(lane);
  for (const auto& [name, queue] : disk.queues) check.add(queue);
  for (const auto& [id, batch] : disk.batches) check.add(batch);
  for (const auto& [id, worker] : disk.workers) check.add(worker);
  for (const auto& [id, request] : disk.requests) check.add(request);
  for (const auto& [name, key] : disk.unique) check.add(key);
  auto run = disk.attempts.begin();
  for (const auto& [id, job] : disk.jobs) {
    std::vector<AttemptRow> runs;
    for (; run != disk.attempts.end() && run->first.first < id; ++run)
      check.add_orphan(run->second);
    for (; run != disk.attempts.end() && run->first.first == id; ++run) runs.push_back(run->second);
    check.add(job.record, job.result, runs);
  }
  for (; run != disk.attempts.end(); ++run) check.add_orphan(run->second);
  for (const auto& [seq, output] : disk.outputs) check.add(output);
  check.finish();
}

}  // namespace millrace::broker

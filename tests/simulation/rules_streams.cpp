#include "tests/simulation/rules.h"
#include "tests/simulation/sim_producer.h"

namespace millrace::simulation {
namespace {

void check_told(const Evidence& evidence, JobId id, const JobSeen& job, const Watcher& watcher) {
  const auto told = watcher.jobs().find(id);
  const broker::MemoryState::Job* row = evidence.find(id);
  const bool was_told = told != watcher.jobs().end();
  require(was_told || row == nullptr || evidence.config().faults.has(Fault::retention),
          "batch {} ended without a word of job {}", watcher.batch().value, id.value);
  if (!was_told || job.redrives_sent != 0) return;
  require(told->second.times == 1, "batch {} told of job {} {} times", watcher.batch().value,
          id.value, told->second.times);
  if (row == nullptr) return;
  const protocol::ResultRow& last = told->second.last;
  const broker::JobStatus& status = row->record.status;
  require(last.state == status.state && last.cursor == status.finish_seq &&
              last.result == row->result && last.attempts == status.attempts,
          "batch {} told of job {} another end than the stored one", watcher.batch().value,
          id.value);
}

/// Its children may have joined the batch when the stream had ended.
bool was_redriven(const Evidence& evidence, JobId parent) {
  const auto job = evidence.history.jobs.find(parent);
  return job != evidence.history.jobs.end() && job->second.redrives_sent != 0;
}

}  // namespace

void rule_streams(const Evidence& evidence) {
  for (const auto& producer : evidence.producers)
    for (const auto& [batch, watcher] : producer->watchers()) {
      if (watcher.lost()) continue;
      for (const auto& [id, request] : evidence.history.requests) {
        if (!request.answer || request.answer->batch != batch) continue;
        if (was_redriven(evidence, request.parent)) continue;
        for (std::uint64_t i = 0; i < request.answer->count; ++i) {
          const JobId job{request.answer->first.value + i};
          check_told(evidence, job, evidence.history.jobs.at(job), watcher);
        }
      }
    }
}

void check_rules(const Evidence& evidence) {
  broker::StoreAudit{}.check(evidence.rows, !evidence.config().faults.has(Fault::retention));
  rule_accepted(evidence);
  rule_outcomes(evidence);
  rule_cancelled(evidence);
  rule_charges(evidence);
  rule_fencing(evidence);
  rule_dull_restarts(evidence);
  rule_not_before(evidence);
  rule_timeouts(evidence);
  rule_order(evidence);
  rule_streams(evidence);
  rule_unique(evidence);
  rule_awaited(evidence);
  rule_expiry(evidence);
  rule_outputs(evidence);
}

}  // namespace millrace::simulation

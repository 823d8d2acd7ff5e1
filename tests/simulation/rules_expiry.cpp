#include "tests/simulation/rules.h"

namespace millrace::simulation {
namespace {

/// The time that was asked for stands in the row, by the clock of the broker that took it.
void check_expires_at(const Evidence& evidence, JobId id, const JobSeen& job, Time stored) {
  if (job.spec.expires_in == Duration{0}) {
    require(stored == job.spec.expires_at, "job {} does not expire when it was asked for",
            id.value);
    return;
  }
  const Decisions::Fate* fate = evidence.history.decisions.find(id);
  if (fate == nullptr || fate->decided_at == Instant{}) return;
  const Time latest = fate->steady_at + job.spec.expires_in + fate->slack;
  const Duration sent_before = fate->decided_at - job.sent_at;
  require(stored <= latest && stored >= latest - sent_before - 2 * fate->slack,
          "job {} was enqueued to wait for {} ms and has another time", id.value,
          job.spec.expires_in.count());
}

}  // namespace

void rule_expiry(const Evidence& evidence) {
  for (const auto& [id, job] : evidence.history.jobs) {
    const broker::MemoryState::Job* row = evidence.find(id);
    if (row == nullptr) continue;
    check_expires_at(evidence, id, job, row->record.spec.expires_at);
    if (row->record.status.state != JobState::expired || job.redrives_sent != 0) continue;
    for (const LeaseId lease_id : job.leases) {
      const LeaseSeen& lease = evidence.history.leases.at(lease_id);
      require(lease.settled != Verb::ack && lease.settled != Verb::reject,
              "job {} expired although a run of it had ended", id.value);
    }
  }
}

}  // namespace millrace::simulation

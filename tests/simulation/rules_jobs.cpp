#include <algorithm>

#include "tests/simulation/rules.h"

namespace millrace::simulation {
namespace {

using broker::JobRecord;
using broker::MemoryState;

void check_spec(const Evidence& evidence, JobId id, const JobSeen& job, const JobRecord& row) {
  const broker::LaneRow& lane = evidence.rows.lanes.at(row.spec.lane);
  const int crashes_max = job.spec.crashes_max != 0 ? job.spec.crashes_max : kCrashesMaxDefault;
  const bool same =
      lane.queue == job.queue && lane.kind == job.spec.kind &&
      row.spec.priority == job.spec.priority && row.spec.max_attempts == job.spec.max_attempts &&
      row.spec.timeout == job.spec.timeout && row.payload == job.spec.payload &&
      row.spec.crashes_max == crashes_max && row.spec.retry == job.spec.retry &&
      row.spec.unique_key == job.spec.unique_key && row.spec.unique_scope == job.spec.unique_scope;
  require(same, "job {} is not stored as it was asked for", id.value);
}

/// The outcome of the last lease stands in the row, if it was taken.
void check_last_outcome(JobId id, const JobSeen& job, const MemoryState::Job& row,
                        const LeaseSeen& lease, LeaseId lease_id) {
  const broker::JobStatus& status = row.record.status;
  if (!lease.settled || status.lease != lease_id || job.redrives_sent != 0) return;
  if (*lease.settled == Verb::ack) {
    require(status.state == JobState::done, "job {} is `{}` after its ACK was taken", id.value,
            to_string(status.state));
    const bool told =
        std::any_of(lease.outcomes.begin(), lease.outcomes.end(), [&](const auto& outcome) {
          return outcome.first == Verb::ack && outcome.second.result == row.result;
        });
    require(told, "job {} has a result that its worker never sent", id.value);
  } else if (*lease.settled == Verb::reject) {
    require(status.state == JobState::dead || status.state == JobState::cancelled,
            "job {} is `{}` after its REJECT was taken", id.value, to_string(status.state));
  }
}

std::uint64_t attempt_rows(const MemoryState& rows, JobId id) {
  const auto begin = rows.attempts.lower_bound({id, 0});
  const auto end = rows.attempts.lower_bound({JobId{id.value + 1}, 0});
  return static_cast<std::uint64_t>(std::distance(begin, end));
}

std::uint64_t certain_crashes(const Evidence& evidence, JobId id) {
  constexpr Duration kTold{500};  // STARTED has arrived
  constexpr Duration kBefore{1000};
  constexpr Duration kAfter{12'000};
  const History& history = evidence.history;
  const FaultSet& faults = evidence.config().faults;
  for (const Fault fault : {Fault::loss, Fault::delay, Fault::stall})
    if (faults.has(fault)) return 0;  // STARTED may have come too late, or never
  std::uint64_t crashes = 0;
  for (const DeathSeen& death : history.deaths) {
    const LeaseSeen& lease = history.leases.at(death.lease);
    if (lease.job != id || history.disturbed(death.peer)) continue;
    if (lease.timeout > Duration{0}) continue;  // may have been ended by its timeout before
    if (!lease.started_at || death.at - *lease.started_at < kTold) continue;
    if (history.broker_lived(lease.received_at - kBefore, death.at + kAfter)) ++crashes;
  }
  return crashes;
}

}  // namespace

void rule_accepted(const Evidence& evidence) {
  const History& history = evidence.history;
  for (const auto& [id, job] : history.jobs) {
    const MemoryState::Job* row = evidence.find(id);
    if (row == nullptr) {
      require(evidence.config().faults.has(Fault::retention) && history.has_ended(id),
              "job {} was acknowledged and is not there", id.value);
      continue;
    }
    check_spec(evidence, id, job, row->record);
  }
  std::map<std::string, JobId> tags;
  for (const auto& [id, row] : evidence.rows.jobs) {
    if (row.record.spec.replay_of) continue;
    const auto [first, fresh] = tags.emplace(row.record.payload.bytes, id);
    require(fresh || history.may_forget_requests(), "jobs {} and {} are both {}",
            first->second.value, id.value, row.record.payload.bytes.substr(0, 20));
  }
}

void rule_outcomes(const Evidence& evidence) {
  for (const auto& [id, row] : evidence.rows.jobs)
    require(is_final(row.record.status.state), "job {} is `{}` at the end", id.value,
            to_string(row.record.status.state));
  for (const auto& [id, job] : evidence.history.jobs) {
    std::size_t acks = 0;
    const MemoryState::Job* row = evidence.find(id);
    for (const LeaseId lease_id : job.leases) {
      const LeaseSeen& lease = evidence.history.leases.at(lease_id);
      if (lease.settled == Verb::ack) ++acks;
      if (row != nullptr) check_last_outcome(id, job, *row, lease, lease_id);
    }
    require(acks <= 1, "{} results of job {} were taken", acks, id.value);
    require(acks == 0 || row == nullptr || row->record.status.state == JobState::done ||
                job.redrives_sent != 0,
            "job {} is `{}` after its ACK was taken", id.value,
            to_string(row == nullptr ? JobState::done : row->record.status.state));
  }
}

void rule_cancelled(const Evidence& evidence) {
  for (const auto& [id, job] : evidence.history.jobs) {
    const MemoryState::Job* row = evidence.find(id);
    if (!job.cancelled || row == nullptr || job.redrives_sent != 0) continue;
    require(row->record.status.state == JobState::cancelled, "job {} was cancelled and is `{}`",
            id.value, to_string(row->record.status.state));
  }
}

/// Outcomes that were taken, of runs that ended and of runs whose process was lost.
struct Taken {
  int attempts = 0;
  int crashes = 0;
};

Taken taken_of(const Evidence& evidence, const JobSeen& job) {
  Taken taken;
  for (const LeaseId lease_id : job.leases) {
    const LeaseSeen& lease = evidence.history.leases.at(lease_id);
    if (!lease.settled || *lease.settled == Verb::release) continue;
    ++(lease.crashed ? taken.crashes : taken.attempts);
  }
  return taken;
}

void rule_charges(const Evidence& evidence) {
  for (const auto& [id, job] : evidence.history.jobs) {
    const MemoryState::Job* row = evidence.find(id);
    if (row == nullptr) continue;
    const broker::JobStatus& status = row->record.status;
    const Taken taken = taken_of(evidence, job);
    int possible = status.deliveries - static_cast<int>(job.leases.size());  // never arrived
    if (row->record.spec.timeout == Duration{0}) possible = 0;
    for (const LeaseId lease_id : job.leases) {
      const LeaseSeen& lease = evidence.history.leases.at(lease_id);
      const bool ended =
          std::any_of(lease.outcomes.begin(), lease.outcomes.end(), [](const auto& outcome) {
            return outcome.first != Verb::release && !outcome.second.crashed;
          });
      if (ended || (lease.timeout > Duration{0} && lease.started_at)) ++possible;
    }
    require(status.attempts >= taken.attempts, "job {} was charged {} attempts for {} outcomes",
            id.value, status.attempts, taken.attempts);
    require(status.attempts <= possible, "job {} was charged {} attempts for {} runs that ended",
            id.value, status.attempts, possible);
    // A cancelled run may be stopping while its worker dies.
    const std::uint64_t crashes = job.cancels_sent != 0 ? 0 : certain_crashes(evidence, id);
    require(status.crashes >= static_cast<int>(crashes) + taken.crashes,
            "job {} was charged {} crashes; its worker died {} times, and told of {}", id.value,
            status.crashes, crashes, taken.crashes);
    const std::uint64_t runs =
        attempt_rows(evidence.rows, id) + (status.state == JobState::done ? 1 : 0);
    require(runs == static_cast<std::uint64_t>(status.attempts + status.crashes),
            "job {} has {} runs on record for {} attempts and {} crashes", id.value, runs,
            status.attempts, status.crashes);
  }
}

}  // namespace millrace::simulation

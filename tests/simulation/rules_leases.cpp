#include <algorithm>

#include "tests/simulation/rules.h"

namespace millrace::simulation {
namespace {

bool has_any(const SimConfig& config, std::initializer_list<Fault> faults) {
  return std::any_of(faults.begin(), faults.end(),
                     [&](Fault fault) { return config.faults.has(fault); });
}

/// What is sent arrives, and in time.
bool is_reliable(const SimConfig& config) {
  // Where messages are refused because a peer reads slowly, its session ends for no other reason.
  return config.hwm >= 1000 &&
         !has_any(config, {Fault::loss, Fault::delay, Fault::stall, Fault::zombie});
}

/// Nothing but restarts of the broker can have disturbed the workers.
bool is_calm(const SimConfig& config) {
  return is_reliable(config) &&
         !has_any(config, {Fault::reconnect, Fault::cut, Fault::freeze, Fault::worker_crash,
                           Fault::poison, Fault::hang, Fault::admin, Fault::crashes});
}

/// The holder of this lease was there all the time, and ran its job to the end.
bool was_held(const History& history, const LeaseSeen& lease) {
  return lease.answered && lease.outcomes.front().first == Verb::ack &&
         lease.timeout == Duration{0} && !history.disturbed(peer_of(lease.life));
}

/// A job that is given back or tried again may have its next lease told before the answer, when
/// that waits for a load which another item of the same message needs.
bool was_taken_before(const LeaseSeen& lease, const LeaseSeen& next) {
  if (lease.settled_stamp.number < next.stamp.number) return true;
  const bool runs_again = lease.settled == Verb::nack || lease.settled == Verb::release;
  return runs_again && lease.waited && lease.first_outcome_at <= next.stamp.sent_at;
}

}  // namespace

void rule_fencing(const Evidence& evidence) {
  for (const auto& [id, job] : evidence.history.jobs) {
    const LeaseSeen* previous = nullptr;
    for (const LeaseId lease_id : job.leases) {
      const LeaseSeen& lease = evidence.history.leases.at(lease_id);
      if (previous != nullptr) {
        require(lease.deliveries > previous->deliveries,
                "job {}: lease {} is delivery {}, after delivery {}", id.value, lease_id.value,
                lease.deliveries, previous->deliveries);
        require(lease.attempt >= previous->attempt, "job {}: attempt {} after attempt {}", id.value,
                lease.attempt, previous->attempt);
        require(!previous->settled || was_taken_before(*previous, lease),
                "job {}: an outcome was taken after lease {} had been given", id.value,
                lease_id.value);
      }
      previous = &lease;
    }
  }
}

void rule_dull_restarts(const Evidence& evidence) {
  const SimConfig& config = evidence.config();
  if (!is_reliable(config)) return;
  for (const auto& [id, job] : evidence.history.jobs) {
    for (const LeaseId lease_id : job.leases) {
      if (job.cancels_sent != 0 || job.redrives_sent != 0) break;
      require(!was_held(evidence.history, evidence.history.leases.at(lease_id)) ||
                  lease_id == *job.leases.rbegin(),
              "job {} was given away while the holder of lease {} was there and running", id.value,
              lease_id.value);
    }
    if (!is_calm(config)) continue;
    if (const auto* row = evidence.find(id))
      require(row->record.status.crashes == 0, "job {} was charged a crash, nothing crashed",
              id.value);
  }
}

}  // namespace millrace::simulation

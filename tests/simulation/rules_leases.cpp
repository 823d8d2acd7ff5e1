#include <algorithm>

#include "tests/simulation/rules.h"

namespace millrace::simulation {
namespace {

/// Nothing but restarts of the broker can have disturbed these workers.
bool is_calm(const SimConfig& config) {
  for (const Fault fault :
       {Fault::loss, Fault::delay, Fault::reconnect, Fault::cut, Fault::freeze, Fault::worker_crash,
        Fault::zombie, Fault::stall, Fault::poison, Fault::hang, Fault::admin})
    if (config.faults.has(fault)) return false;
  // Where messages are refused because a peer reads slowly, its session ends for no other reason.
  return config.hwm >= 1000;
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
        require(!previous->settled || previous->settled_stamp.number < lease.stamp.number,
                "job {}: an outcome was taken after lease {} had been given", id.value,
                lease_id.value);
      }
      previous = &lease;
    }
  }
}

void rule_dull_restarts(const Evidence& evidence) {
  if (!is_calm(evidence.config())) return;
  for (const auto& [id, job] : evidence.history.jobs) {
    for (const LeaseId lease_id : job.leases) {
      const LeaseSeen& lease = evidence.history.leases.at(lease_id);
      if (lease.outcomes.empty() || lease.timeout > Duration{0}) continue;
      require(lease.outcomes.front().first != Verb::ack || lease_id == *job.leases.rbegin(),
              "job {} was given away while the holder of lease {} was there and running", id.value,
              lease_id.value);
    }
    if (const auto* row = evidence.find(id))
      require(row->record.status.crashes == 0, "job {} was charged a crash, nothing crashed",
              id.value);
  }
}

}  // namespace millrace::simulation

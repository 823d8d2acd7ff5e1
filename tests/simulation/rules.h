#pragma once

// What must hold at the end of a run, over what the clients saw and what the store holds. Each rule
// throws Violation. What can be seen at once is checked by History and Watcher while it happens.

#include <memory>
#include <vector>

#include "broker/store/memory_store.h"
#include "tests/simulation/history.h"

namespace millrace::simulation {

class SimProducer;

struct Evidence {
  const History& history;
  const broker::MemoryState& rows;
  const std::vector<std::unique_ptr<SimProducer>>& producers;

  /// Null when retention has deleted it.
  [[nodiscard]] const broker::MemoryState::Job* find(JobId id) const {
    const auto found = rows.jobs.find(id);
    return found == rows.jobs.end() ? nullptr : &found->second;
  }
  [[nodiscard]] const SimConfig& config() const { return history.world().config(); }
};

void check_rules(const Evidence& evidence);

// ---- rules_jobs.cpp
/// What was acknowledged is there once, as it was asked for; what was not is there once or not.
void rule_accepted(const Evidence& evidence);
/// Every job has ended, in the way of the outcome that was taken.
void rule_outcomes(const Evidence& evidence);
/// A CANCEL that was answered `ok` stands until a REDRIVE.
void rule_cancelled(const Evidence& evidence);
/// Attempts, crashes and deliveries are those that happened.
void rule_charges(const Evidence& evidence);

// ---- rules_leases.cpp
/// Leases of a job rise with its deliveries, and an outcome is taken only before the next one.
void rule_fencing(const Evidence& evidence);
/// A broker's restart takes nothing from a worker that was there all the time.
void rule_dull_restarts(const Evidence& evidence);

// ---- rules_time.cpp
/// Nothing runs before its time, first or again.
void rule_not_before(const Evidence& evidence);
/// No run is ended before its timeout.
void rule_timeouts(const Evidence& evidence);
/// Priority, then id, within a lane.
void rule_order(const Evidence& evidence);

// ---- rules_streams.cpp
/// Each watcher was told of every job of its batch, once for each of its ends.
void rule_streams(const Evidence& evidence);

// ---- rules_unique.cpp
/// No unique key is taken by a job that has ended.
void rule_unique(const Evidence& evidence);
/// Who waited for a job's end was told the one that is stored.
void rule_awaited(const Evidence& evidence);

// ---- rules_expiry.cpp
/// Jobs expire when they were asked to, and none of which a run had ended.
void rule_expiry(const Evidence& evidence);

// ---- rules_output.cpp
/// What a run left behind is stored once, in order, if that was answered; and nothing else.
void rule_outputs(const Evidence& evidence);

}  // namespace millrace::simulation

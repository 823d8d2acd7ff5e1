// Retention: which ended jobs go, in steps that fit between two commits.

#include <algorithm>
#include <cmath>

#include "broker/engine/core.h"

namespace millrace::broker {
namespace {

constexpr std::size_t kPruneJobs = 500;
constexpr std::size_t kPruneBytes = 8 * kMiB;
constexpr Duration kPruneEveryMin{1000};
constexpr Duration kPruneEveryMax{60'000};

constexpr std::array kFinalStates = {JobState::done, JobState::dead, JobState::cancelled,
                                     JobState::expired};

std::size_t slot(JobState state) { return static_cast<std::size_t>(state); }

/// By which retention goes: the wall clock, but when it is set ahead while the broker runs, nothing
/// is older for it.
Time retention_clock(const Core& core, Now now) { return std::min(now.utc, core.steady(now)); }

/// What one queue has too much of; the share of each of its lanes is by what the lane has.
struct Excess {
  std::uint64_t jobs = 0;
  std::uint64_t bytes = 0;
};

Excess excess_of(const Queue& queue, const StateBytes& bytes, JobState state, const Keep& keep) {
  Excess excess;
  const std::uint64_t jobs = queue.counts[slot(state)];
  if (keep.jobs && jobs > *keep.jobs) excess.jobs = jobs - *keep.jobs;
  if (keep.bytes && bytes[slot(state)] > *keep.bytes)
    excess.bytes = bytes[slot(state)] - *keep.bytes;
  return excess;
}

/// part/whole of `amount`, rounded up, so that the shares of all lanes are together at least
/// `amount`.
std::uint64_t share(std::uint64_t amount, std::uint64_t part, std::uint64_t whole) {
  if (amount == 0 || whole == 0) return 0;
  const auto exact = static_cast<long double>(amount) * static_cast<long double>(part) /
                     static_cast<long double>(whole);
  return std::min(part, static_cast<std::uint64_t>(std::ceil(exact)));
}

StateBytes bytes_of(Core& core, const Queue& queue) {
  StateBytes bytes{};
  for (const LaneId id : queue.lanes)
    for (const JobState state : kFinalStates)
      bytes[slot(state)] += core.lane(id).ended_bytes[slot(state)];
  return bytes;
}

/// Adds what this state of the queue has to lose to the lanes' prunes.
void add_state(Core& core, const Queue& queue, const StateBytes& bytes, JobState state,
               std::map<LaneId, LanePrune>& prunes, Prune& prune, Now now) {
  const std::uint64_t all = queue.counts[slot(state)];
  if (all == 0) return;
  const Keep keep = core.options.retention.keep(queue.row.name, state);
  const Excess excess = excess_of(queue, bytes, state, keep);
  const Time before = keep.age.count() == 0 ? Time{} : retention_clock(core, now) - keep.age;
  prune.finished_before = std::max(prune.finished_before, before);
  for (const LaneId id : queue.lanes) {
    const Lane& lane = core.lane(id);
    if (lane.counts[slot(state)] == 0) continue;
    LanePrune& one = prunes[id];
    one.lane = id;
    one.finished_before[slot(state)] = before;
    one.jobs[slot(state)] = share(excess.jobs, lane.counts[slot(state)], all);
    one.bytes[slot(state)] = share(excess.bytes, lane.ended_bytes[slot(state)], bytes[slot(state)]);
  }
}

bool has_excess(Core& core) {
  for (const auto& [name, queue] : core.queues) {
    const StateBytes bytes = bytes_of(core, queue);
    for (const JobState state : kFinalStates) {
      const Excess excess =
          excess_of(queue, bytes, state, core.options.retention.keep(name, state));
      if (excess.jobs != 0 || excess.bytes != 0) return true;
    }
  }
  return false;
}

bool limits_numbers(const Retention& retention) {
  return std::any_of(retention.rules.begin(), retention.rules.end(),
                     [](const RetentionRule& rule) { return rule.jobs || rule.bytes; });
}

/// A long walk for a few jobs is not begun again at once.
Duration next_excess_check(const Core& core) {
  return std::clamp(core.prune_steps * Duration{100}, kPruneEveryMin, kPruneEveryMax);
}

}  // namespace

void prune_if_due(Core& core, Now now) {
  // A job or key that was loaded for a command must not be deleted under it.
  if (core.pruning || core.job_loads_under_way != 0) return;
  const bool aged = now.mono >= core.prune_at;
  const bool counted = now.mono >= core.excess_check_at;
  if (!aged && !counted) return;
  if (counted) {
    core.excess_check_at = limits_numbers(core.options.retention)
                               ? now.mono + next_excess_check(core)
                               : Instant::max();
    if (!aged && !has_excess(core)) return;
  }
  Prune prune{.finished_before = {},
              .requests_before = retention_clock(core, now) - kRequestKeptFor,
              .unique_before = core.steady(now),
              .from = core.prune_from,
              .jobs_max = kPruneJobs,
              .bytes_max = kPruneBytes,
              .lanes = {}};
  std::map<LaneId, LanePrune> lanes;
  for (const auto& [name, queue] : core.queues) {
    const StateBytes bytes = bytes_of(core, queue);
    for (const JobState state : kFinalStates)
      add_state(core, queue, bytes, state, lanes, prune, now);
  }
  for (auto& [id, lane] : lanes) prune.lanes.push_back(lane);
  if (!core.prune_from) core.prune_steps = 0;
  ++core.prune_steps;
  core.pruning = true;
  core.load(std::move(prune));
}

void on_pruned(Core& core, const Pruned& pruned, Now now) {
  core.pruning = false;
  core.prune_from = pruned.next;
  const Duration shortest = core.options.retention.shortest_age();
  const Duration every = shortest.count() == 0
                             ? kPruneEveryMax
                             : std::clamp(shortest / 4, kPruneEveryMin, kPruneEveryMax);
  core.prune_at = pruned.next ? now.mono : now.mono + every;
  for (const LaneDelta& delta : pruned.deltas) {
    Lane& lane = core.lane(delta.id);
    for (std::size_t state = 0; state < kJobStateCount; ++state) {
      lane.counts[state] += static_cast<std::uint64_t>(delta.deltas[state]);
      lane.queue->counts[state] += static_cast<std::uint64_t>(delta.deltas[state]);
      lane.ended_bytes[state] += static_cast<std::uint64_t>(delta.bytes[state]);
    }
  }
}

}  // namespace millrace::broker

// What is in memory and what is only in the store.

#include <algorithm>
#include <iterator>

#include "broker/engine/core.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;

/// A window refills below a quarter, and is trimmed to three quarters when it overflows, so that
/// one job more or less never starts a load or a trim of its own.
constexpr std::size_t low(std::size_t limit) { return std::max<std::size_t>(1, limit / 4); }
constexpr std::size_t refill(std::size_t limit) { return std::max<std::size_t>(1, limit / 2); }
constexpr std::size_t trimmed(std::size_t limit) { return limit - limit / 4; }

/// The newest record of a job is in memory, or was written after the load looked.
bool outdated(const Core& core, JobId id, std::uint64_t batch) {
  const auto changed = core.changed.find(id);
  return core.jobs.contains(id) || (changed != core.changed.end() && changed->second > batch);
}

/// Brings loaded jobs of a window into memory. One that a command is looking at just now is there
/// already, outside the window, and would leave with that command: it is taken in.
void take_in(Core& core, std::vector<JobRecord>& records, JobState state, std::uint64_t batch,
             Now now) {
  for (JobRecord& record : records) {
    const JobId id = record.id;
    if (!outdated(core, id, batch)) {
      core.index(id, core.adopt(std::move(record)), now);
    } else if (Job* known = core.find_job(id);
               known != nullptr && !known->indexed && known->status.state == state) {
      core.index(id, *known, now);
    }
  }
}

/// Drops the last of `items`; what remains is the window.
template <class Key>
void drop_last(Core& core, Window<Key>& window) {
  const Key last = *window.items.rbegin();
  Job& job = *core.find_job(last.id);
  core.unindex(last.id, job);
  if (!job.dirty) core.jobs.erase(last.id);
  window.frontier = *window.items.rbegin();
  window.whole = false;
}

/// After a load the arrivals either fall inside the window or are left to the store.
template <class Key>
void merge_arrivals(Core& core, Window<Key>& window) {
  window.loading = false;
  for (const Key& key : std::exchange(window.arrivals, {})) {
    if (window.insert(key)) continue;
    Job& job = *core.find_job(key.id);
    job.indexed = false;
    if (job.status.state == JobState::ready) {
      core.lane_of(job).bytes -= job.payload.size();
    } else {
      core.due.erase({job.due, key.id});
    }
    if (!job.dirty) core.jobs.erase(key.id);
  }
}

}  // namespace

void trim_lane(Core& core, Lane& lane) {
  const Limits& limits = core.options.limits;
  if (lane.ready.loading) return;
  if (lane.ready.items.size() <= limits.window_jobs_max && lane.bytes <= limits.window_bytes_max)
    return;
  while (lane.ready.items.size() > 1 &&
         (lane.ready.items.size() > trimmed(limits.window_jobs_max) ||
          lane.bytes > trimmed(limits.window_bytes_max)))
    drop_last(core, lane.ready);
}

void trim_scheduled(Core& core) {
  const std::size_t limit = core.options.limits.window_jobs_max;
  if (core.scheduled.loading || core.scheduled.items.size() <= limit) return;
  while (core.scheduled.items.size() > trimmed(limit)) drop_last(core, core.scheduled);
}

void load_lane_if_low(Core& core, Lane& lane) {
  Window<ReadyKey>& window = lane.ready;
  const Limits& limits = core.options.limits;
  if (window.whole || window.loading) return;
  if (window.items.size() >= low(limits.window_jobs_max)) return;
  if (!window.items.empty() && lane.bytes >= low(limits.window_bytes_max)) return;
  window.loading = true;
  core.load(LoadReady{lane.id, window.frontier.priority, window.frontier.id,
                      refill(limits.window_jobs_max)});
}

void load_scheduled_if_low(Core& core) {
  Window<ScheduledKey>& window = core.scheduled;
  const std::size_t limit = core.options.limits.window_jobs_max;
  if (window.whole || window.loading || window.items.size() >= low(limit)) return;
  window.loading = true;
  core.load(LoadScheduled{window.frontier.run_at, window.frontier.id, refill(limit)});
}

void on_loaded_ready(Core& core, LoadedReady loaded, std::uint64_t batch, Now now) {
  Lane& lane = core.lane(loaded.lane);
  Window<ReadyKey>& window = lane.ready;
  window.whole = loaded.end;
  if (!loaded.jobs.empty())
    window.frontier = {loaded.jobs.back().spec.priority, loaded.jobs.back().id};
  if (planted(Mutant::frontier_skips)) window.frontier.id.value += 2;
  take_in(core, loaded.jobs, JobState::ready, batch, now);
  merge_arrivals(core, window);
  trim_lane(core, lane);
  core.dispatch_wanted = true;
}

void on_loaded_scheduled(Core& core, LoadedScheduled loaded, std::uint64_t batch, Now now) {
  Window<ScheduledKey>& window = core.scheduled;
  window.whole = loaded.end;
  if (!loaded.jobs.empty())
    window.frontier = {loaded.jobs.back().status.run_at, loaded.jobs.back().id};
  take_in(core, loaded.jobs, JobState::scheduled, batch, now);
  merge_arrivals(core, window);
  trim_scheduled(core);
}

void run_due_jobs(Core& core, Now now) {
  while (!core.due.empty() && core.due.begin()->first <= now.mono) {
    const JobId id = core.due.begin()->second;
    core.apply(id, *core.find_job(id), JobEvent::due, now);
  }
  load_scheduled_if_low(core);
}

void follow_wall_clock(Core& core, Now now) {
  const Duration offset = now.utc.time_since_epoch() - now.mono.time_since_epoch();
  const Duration jump = offset - core.wall_offset;
  if (std::chrono::abs(jump) < Duration{1000}) return;  // small steps add up until they count
  core.wall_offset = offset;
  // Jobs that wait for a time of day follow the clock; delays and back-offs run on as they were.
  std::vector<JobId> absolute;
  for (const auto& [due, id] : core.due) {
    const Job& job = *core.find_job(id);
    const bool follows = job.spec.absolute && job.status.attempts == 0;
    if (follows || planted(Mutant::delay_by_wall_clock)) absolute.push_back(id);
  }
  for (JobId id : absolute) {
    Job& job = *core.find_job(id);
    core.due.erase({job.due, id});
    job.due = now.mono + std::max(Duration{0}, job.status.run_at - now.utc);
    core.due.emplace(job.due, id);
  }
}

}  // namespace millrace::broker

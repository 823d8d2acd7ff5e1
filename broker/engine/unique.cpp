// Unique keys: who holds which, and what an ENQUEUE makes of it. Holders are rows of the store, so
// a command that names keys waits for a load; what changed since that load looked is remembered
// here, as Core::changed does for jobs.

#include <fmt/format.h>

#include <algorithm>

#include "broker/engine/core.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;
using protocol::NewJob;

/// A row of scope ttl that is outdated holds nothing.
bool holds(const Core& core, const UniqueRow& row, Now now) {
  return row.until == Time{} || row.until > core.steady(now);
}

std::string conflict_text(const std::string& key, JobId holder, std::string_view why) {
  return fmt::format("unique key `{:.128}` is held by job {}{}", key, holder.value, why);
}

}  // namespace

Time Core::steady(Now now) const {
  if (planted(Mutant::expiry_by_wall_clock)) return now.utc;
  return Time{now.mono.time_since_epoch() + steady_offset};
}

void change_unique(Core& core, const std::string& queue, const std::string& key,
                   std::optional<UniqueRow> before, std::optional<UniqueRow> after) {
  UniqueChange& change = core.unique_changes[{queue, key}];
  if (!change.dirty) {
    change.dirty = true;
    change.stored = std::move(before);
    core.dirty_unique.emplace_back(queue, key);
  }
  change.row = std::move(after);
  change.batch = core.batch_number;
}

void give_back_key(Core& core, JobId id, Job& job) {
  if (!job.status.unique_held) return;
  job.status.unique_held = false;
  const std::string& queue = core.lane_of(job).queue->row.name;
  change_unique(core, queue, job.spec.unique_key, UniqueRow{queue, job.spec.unique_key, id, {}},
                std::nullopt);
}

void write_unique(Core& core) {
  for (const auto& name : std::exchange(core.dirty_unique, {})) {
    UniqueChange& change = core.unique_changes.at(name);
    change.dirty = false;
    if (change.stored != change.row) {
      if (change.stored) core.effects.writes.unique_released.push_back(*change.stored);
      if (change.row) core.effects.writes.unique_acquired.push_back(*change.row);
    }
    if (core.loads_under_way.empty()) core.unique_changes.erase(name);
  }
}

void forget_unique_changes(Core& core, std::uint64_t oldest_load) {
  std::erase_if(core.unique_changes, [&](const auto& entry) {
    return !entry.second.dirty && entry.second.batch <= oldest_load;
  });
}

std::optional<UniqueRow> unique_row(const Core& core, const std::string& queue,
                                    const std::string& key, const UniqueLooked& looked) {
  const auto change = core.unique_changes.find({queue, key});
  if (change != core.unique_changes.end() && change->second.batch > looked.batch &&
      !planted(Mutant::unique_looks_back))
    return change->second.row;
  for (const UniqueRow& row : looked.rows)
    if (row.queue == queue && row.key == key) return row;
  return std::nullopt;
}

bool take_key_again(Core& core, JobId id, Job& job, const UniqueLooked& looked, Now now) {
  if (job.spec.unique_key.empty() || job.spec.unique_scope == UniqueScope::ttl) return true;
  const std::string& queue = core.lane_of(job).queue->row.name;
  auto row = unique_row(core, queue, job.spec.unique_key, looked);
  if (row && holds(core, *row, now)) return false;
  change_unique(core, queue, job.spec.unique_key, std::move(row),
                UniqueRow{queue, job.spec.unique_key, id, {}});
  job.status.unique_held = true;
  return true;
}

void take_key(Core& core, JobId id, const NewJob& from, Job& job, std::optional<UniqueRow> before,
              Now now) {
  const bool ttl = from.unique_scope == UniqueScope::ttl;
  const std::string& queue = core.lane_of(job).queue->row.name;
  change_unique(
      core, queue, from.unique_key, std::move(before),
      UniqueRow{queue, from.unique_key, id, ttl ? core.steady(now) + from.unique_ttl : Time{}});
  job.status.unique_held = !ttl;
}

Result<UniquePlan> plan_unique(Core& core, const protocol::Enqueue& enqueue,
                               const UniqueLooked& looked, JobId first, Now now) {
  UniquePlan plan;
  plan.steps.resize(enqueue.jobs.size());
  std::map<std::string_view, JobId> made;  // keys that jobs of this very request take
  JobId next = first;
  for (std::size_t i = 0; i < enqueue.jobs.size(); ++i) {
    const NewJob& job = enqueue.jobs[i];
    UniqueStep& step = plan.steps[i];
    if (!job.unique_key.empty()) {
      const auto own = made.find(job.unique_key);
      step.row = unique_row(core, enqueue.queue, job.unique_key, looked);
      JobId holder;
      if (own != made.end()) {
        holder = own->second;
      } else if (step.row && holds(core, *step.row, now)) {
        holder = step.row->job;
      }
      if (holder && job.on_conflict == OnConflict::reject)
        return fail(ErrorCode::unique_conflict, conflict_text(job.unique_key, holder, ""));
      if (holder && job.on_conflict == OnConflict::existing) {
        step.existing = holder;
        plan.has_existing = true;
        continue;
      }
      if (holder && own == made.end()) {
        const Job* held = core.find_job(holder);
        if (held == nullptr || is_final(held->status.state) ||
            held->status.state == JobState::leased)
          return fail(ErrorCode::unique_conflict,
                      conflict_text(job.unique_key, holder,
                                    ", which does not wait any more: it cannot be replaced"));
      }
      step.replaces = holder;
      made[job.unique_key] = next;
    }
    ++next.value;
    ++plan.count;
  }
  return plan;
}

bool has_unique_keys(const protocol::Enqueue& enqueue) {
  return std::any_of(enqueue.jobs.begin(), enqueue.jobs.end(),
                     [](const NewJob& job) { return !job.unique_key.empty(); });
}

void park_for_unique(Core& core, Received command) {
  const auto& enqueue = std::get<protocol::Enqueue>(command.message);
  LoadUnique load{++core.last_ticket, enqueue.queue, {}};
  for (const NewJob& job : enqueue.jobs)
    if (!job.unique_key.empty()) load.keys.push_back(job.unique_key);
  std::sort(load.keys.begin(), load.keys.end());
  load.keys.erase(std::unique(load.keys.begin(), load.keys.end()), load.keys.end());
  Parked parked;
  parked.command = std::move(command);
  core.parked.emplace(load.ticket, std::move(parked));
  core.load(std::move(load));
}

void on_loaded_unique(Core& core, LoadedUnique loaded, std::uint64_t batch, Now now) {
  auto node = core.parked.extract(loaded.ticket);
  if (node.empty()) return;
  // A holder that changed and left memory since the load looked: look again.
  for (const JobRecord& job : loaded.jobs) {
    const auto changed = core.changed.find(job.id);
    if (!core.jobs.contains(job.id) && changed != core.changed.end() && changed->second > batch)
      return park_for_unique(core, std::move(node.mapped().command));
  }
  adopt_visitors(core, loaded.jobs, loaded.batches, batch);
  enqueue_unique(core, std::move(node.mapped().command), {std::move(loaded.rows), batch}, now);
}

}  // namespace millrace::broker

#include "broker/engine/core.h"

#include <algorithm>

#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;

ReadyKey ready_key(JobId id, const Job& job) {
  return {planted(Mutant::priority_ignored) ? kPriorityMin : job.spec.priority, id};
}
ScheduledKey scheduled_key(JobId id, const Job& job) { return {job.status.run_at, id}; }

/// Where a batch counts its jobs of a final state.
std::uint64_t& final_count(BatchRow& row, JobState state) {
  switch (state) {
    case JobState::done:
      return row.done;
    case JobState::dead:
      return row.dead;
    case JobState::cancelled:
      return row.cancelled;
    default:
      return row.expired;
  }
}

/// Jobs with their batches, which must not be forgotten or deleted meanwhile.
bool brings_jobs(const Load& load) {
  return std::holds_alternative<LoadJobs>(load) || std::holds_alternative<LoadUnique>(load) ||
         std::holds_alternative<LoadExpired>(load);
}

}  // namespace

Job* Core::find_job(JobId id) {
  const auto found = jobs.find(id);
  return found == jobs.end() ? nullptr : &found->second;
}

Queue& Core::queue(const std::string& name) {
  const auto [entry, inserted] = queues.try_emplace(name);
  if (inserted) {
    entry->second.row.name = name;
    touch(entry->second);
  }
  return entry->second;
}

LaneId Core::lane_for(Queue& owner, const std::string& kind) {
  const auto [entry, inserted] = owner.lanes_by_kind.try_emplace(kind);
  if (inserted) {
    Lane& lane = lanes.emplace_back();
    lane.id = LaneId{lanes.size()};
    lane.kind = kind;
    lane.queue = &owner;
    owner.lanes.push_back(lane.id);
    entry->second = lane.id;
    new_lanes.push_back(lane.id);
  }
  return entry->second;
}

Job& Core::create(JobId id, Job job, Now now) {
  Job& created = jobs.emplace(id, std::move(job)).first->second;
  created.fresh = true;
  created.dirty = true;
  dirty_jobs.emplace_back(id, &created);
  count(created, created.status.state, +1);
  index(id, created, now);
  return created;
}

Job& Core::adopt(JobRecord record) {
  const auto [entry, fresh] = jobs.try_emplace(record.id);
  MR_ASSERT(fresh, "job {} is in memory, and newer there", record.id.value);
  Job& job = entry->second;
  job.spec = std::move(record.spec);
  job.status = std::move(record.status);
  job.payload = std::move(record.payload);
  job.payload_bytes = record.payload_bytes;
  job.outputs = planted(Mutant::outputs_doubled) ? 0 : record.outputs;
  return job;
}

void Core::apply(JobId id, Job& job, JobEvent event, Now now) {
  const JobState from = job.status.state;
  const auto to = next_state(from, event);
  MR_ASSERT(to, "job {}: event {} in state {}", id.value, static_cast<int>(event), to_string(from));
  touch(id, job);
  unindex(id, job);
  count(job, from, -1);
  job.status.state = *to;
  const bool stays = (*to == JobState::done && planted(Mutant::key_stays)) ||
                     (*to == JobState::cancelled && planted(Mutant::key_outlives_cancel));
  if ((is_final(*to) && !stays) ||
      (event == JobEvent::lease && job.spec.unique_scope == UniqueScope::queued))
    give_back_key(*this, id, job);
  if (is_final(*to)) {
    job.status.finished_at = now.utc;
    // The wall clock may have gone back since.
    job.status.started_at = std::min(job.status.started_at, now.utc);
    job.status.finish_seq = last_finish = FinishSeq{last_finish.value + 1};
    marks_dirty = true;
  } else if (is_final(from)) {
    job.status.finished_at = {};
    job.status.finish_seq = {};
    job.result = Payload{};
  }
  if (*to == JobState::ready) job.status.run_at = now.utc;
  count(job, *to, +1);
  if (is_final(*to)) {
    record_result(*this, id, job);
    wake_waits(*this, id, true);
  }
  index(id, job, now);
  Queue& queue = *lane_of(job).queue;
  if (queue.counts[static_cast<std::size_t>(JobState::ready)] == 0) leave_checks = true;
  check_drained(*this, queue);
}

void Core::count(Job& job, JobState state, int by) {
  const auto slot = static_cast<std::size_t>(state);
  const auto step = static_cast<std::uint64_t>(static_cast<std::int64_t>(by));
  Lane& home = lane_of(job);
  home.counts[slot] += step;
  home.queue->counts[slot] += step;
  home.deltas[slot] += by;
  if (is_final(state)) {
    const auto bytes = static_cast<std::int64_t>(
        job.payload_bytes + (job.result ? job.result->size() : std::size_t{0}));
    home.ended_bytes[slot] += static_cast<std::uint64_t>(by * bytes);
    home.bytes_deltas[slot] += by * bytes;
  }
  if (!home.dirty) {
    home.dirty = true;
    dirty_lanes.push_back(home.id);
  }
  if (state == JobState::scheduled) scheduled_total += step;

  const auto found = batches.find(job.spec.batch);
  if (found == batches.end()) return;  // implicit, and nobody watches it
  Batch& batch = found->second;
  if (is_final(state)) {
    final_count(batch.row, state) += step;
  } else {
    batch.row.open += step;
  }
  touch(batch);
}

void Core::index(JobId id, Job& job, Now now) {
  if (job.status.state == JobState::ready) {
    Lane& home = lane_of(job);
    job.indexed = home.ready.insert(ready_key(id, job));
    // Nothing of the lane may be in memory, and nobody else may ever look at it again.
    if (!job.indexed) dispatch_wanted = dispatch_wanted || home.ready.items.empty();
    if (!job.indexed) return;
    home.bytes += job.payload.size();
    dispatch_wanted = true;
    trim_lane(*this, home);
  } else if (job.status.state == JobState::scheduled) {
    job.indexed = scheduled.insert(scheduled_key(id, job));
    if (!job.indexed) return;
    job.due = now.mono + std::max(Duration{0}, job.status.run_at - now.utc);
    due.emplace(job.due, id);
    trim_scheduled(*this);
  } else if (job.status.state == JobState::leased) {
    job.indexed = true;
  }
}

void Core::unindex(JobId id, Job& job) {
  if (!job.indexed) return;
  job.indexed = false;
  if (job.status.state == JobState::ready) {
    Lane& home = lane_of(job);
    home.ready.erase(ready_key(id, job));
    home.bytes -= job.payload.size();
  } else if (job.status.state == JobState::scheduled) {
    scheduled.erase(scheduled_key(id, job));
    due.erase({job.due, id});
  }
}

void Core::touch(JobId id, Job& job) {
  if (job.dirty) return;
  job.dirty = true;
  job.from_state = job.status.state;
  job.from_lease = job.status.lease;
  dirty_jobs.emplace_back(id, &job);
}

void Core::touch(Queue& queue) {
  if (queue.dirty) return;
  queue.dirty = true;
  dirty_queues.push_back(queue.row.name);
}

void Core::touch(Batch& batch) {
  if (batch.dirty) return;
  batch.dirty = true;
  dirty_batches.push_back(batch.row.id);
}

void Core::reply(ConnectionId to, std::uint64_t correlation, protocol::Message message) {
  auto& replies = planted(Mutant::early_reply) ? effects.replies_now : effects.replies;
  if (to) replies.push_back({to, correlation, std::move(message)});
}

void Core::reply_now(ConnectionId to, std::uint64_t correlation, protocol::Message message) {
  if (to) effects.replies_now.push_back({to, correlation, std::move(message)});
}

void Core::refuse(const Received& command, ErrorCode code, std::string message, Duration after) {
  reply_now(command.from, command.correlation,
            protocol::make_error({code, std::move(message), after}));
}

void Core::load(Load load) {
  if (brings_jobs(load)) ++job_loads_under_way;
  effects.loads.push_back(std::move(load));
  loads_under_way.push_back(batch_number);
}

double Core::random() {
  // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
  random_state += 0x9E3779B97F4A7C15ULL;
  std::uint64_t x = random_state;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  x ^= x >> 31;
  return static_cast<double>(x >> 11) * 0x1.0p-53;
}

}  // namespace millrace::broker

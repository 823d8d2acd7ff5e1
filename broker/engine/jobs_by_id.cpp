// Commands that name jobs: CANCEL, REDRIVE and REPLAY. Jobs that are not in memory are
// loaded first; the command waits.

#include <fmt/format.h>

#include <algorithm>

#include "broker/engine/core.h"
#include "common/util/hash.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;
using protocol::ItemStatus;

void park(Core& core, Parked parked, bool payloads) {
  const std::uint64_t ticket = ++core.last_ticket;
  const bool unique = std::holds_alternative<protocol::Redrive>(parked.command.message);
  core.load(LoadJobs{ticket, parked.asked, payloads, unique});
  core.parked.emplace(ticket, std::move(parked));
}

/// Jobs of a command that must be fetched first. Those fetched before are fetched again with the
/// others: they leave memory when the batch is taken.
std::vector<JobId> missing_jobs(const Core& core, const std::vector<JobId>& ids,
                                const std::set<JobId>& absent) {
  std::vector<JobId> missing;
  bool any = false;
  for (JobId id : ids) {
    if (absent.contains(id)) continue;
    const auto found = core.jobs.find(id);
    any = any || found == core.jobs.end();
    if (found == core.jobs.end() || !found->second.indexed) missing.push_back(id);
  }
  if (!any) missing.clear();
  return missing;
}

void cancel_known(Core& core, const Received& command, Now now) {
  protocol::Outcomes outcomes{std::get<protocol::Cancel>(command.message).jobs, {}};
  for (JobId id : outcomes.jobs) outcomes.statuses.push_back(cancel_job(core, id, {}, now));
  core.reply(command.from, command.correlation, std::move(outcomes));
}

bool any_has_key(Core& core, const std::vector<JobId>& ids) {
  return std::any_of(ids.begin(), ids.end(), [&](JobId id) {
    const Job* job = core.find_job(id);
    return job != nullptr && !job->spec.unique_key.empty();
  });
}

/// The queue of one of these jobs that takes no new work, if any.
template <class Jobs>
const Queue* closed_queue(Core& core, const Jobs& lanes) {
  for (LaneId lane : lanes)
    if (const Queue* queue = core.lane(lane).queue; queue->row.state == QueueState::closed)
      return queue;
  return nullptr;
}

bool refuse_closed(Core& core, const Received& command, const std::vector<LaneId>& lanes) {
  const Queue* queue = closed_queue(core, lanes);
  if (queue == nullptr) return false;
  core.refuse(command, ErrorCode::queue_closed,
              fmt::format("queue `{}` is closed (generation {}): wait until it is drained, or "
                          "`millrace-producer open {}`",
                          queue->row.name, queue->row.generation, queue->row.name));
  return true;
}

bool refuse_full(Core& core, const Received& command, const std::vector<LaneId>& lanes) {
  const std::uint64_t limit = core.options.limits.queue_jobs_max;
  std::map<const Queue*, std::uint64_t> more;
  for (LaneId lane : lanes) ++more[core.lane(lane).queue];
  for (const auto& [queue, count] : more) {
    if (queue->open_jobs() + count <= limit) continue;
    core.refuse(command, ErrorCode::queue_full,
                fmt::format("queue `{}` holds {} jobs, its limit is {} (queue_jobs_max)",
                            queue->row.name, queue->open_jobs(), limit),
                Duration{1000});
    return true;
  }
  return false;
}

ItemStatus redrive_job(Core& core, JobId id, const UniqueLooked& unique, Now now) {
  Job* job = core.find_job(id);
  if (job == nullptr) return ItemStatus::not_found;
  if (!next_state(job->status.state, JobEvent::redrive)) return ItemStatus::refused;
  if (is_past(core, *job, now)) return ItemStatus::refused;
  if (!take_key_again(core, id, *job, unique, now)) return ItemStatus::refused;
  reopen_if_drained(core, *core.lane_of(*job).queue);
  core.touch(id, *job);
  job->status.attempts_base = job->status.attempts;
  job->status.crashes_base = job->status.crashes;
  job->status.error.clear();
  job->status.started_at = {};
  wait_again(core, id, *job, JobEvent::redrive, now);
  return ItemStatus::ok;
}

void redrive_known(Core& core, const Parked& parked, Now now) {
  const Received& command = parked.command;
  protocol::Outcomes outcomes{std::get<protocol::Redrive>(command.message).jobs, {}};
  std::vector<LaneId> lanes;
  for (JobId id : outcomes.jobs)
    if (const Job* job = core.find_job(id)) lanes.push_back(job->spec.lane);
  if (refuse_closed(core, command, lanes)) return;
  for (JobId id : outcomes.jobs)
    outcomes.statuses.push_back(redrive_job(core, id, parked.unique, now));
  core.reply(command.from, command.correlation, std::move(outcomes));
}

std::uint64_t body_hash(const protocol::Replay& replay) {
  std::uint64_t hash = replay.batch.value * 2 + (replay.seal ? 1 : 0);
  if (replay.force) hash = hash64("force", hash);
  for (JobId id : replay.jobs)
    hash = hash64({reinterpret_cast<const char*>(&id.value), sizeof id.value}, hash);
  return hash;
}

Job copy_of(JobRecord& origin, BatchId batch, Now now) {
  Job job;
  job.spec = origin.spec;
  job.spec.batch = batch;
  job.spec.replay_of = origin.id;
  job.spec.absolute = false;
  job.spec.expires_at = {};
  job.spec.unique_key.clear();
  job.spec.unique_scope = UniqueScope::active;
  job.spec.enqueued_at = now.utc;
  job.status.state = JobState::ready;
  job.status.run_at = now.utc;
  job.payload_bytes = origin.payload.size();
  job.payload = std::move(origin.payload);
  return job;
}

std::optional<Error> check_replay(Core& core, const protocol::Replay& replay) {
  if (replay.jobs.empty() && !(replay.seal && replay.batch))
    return Error{ErrorCode::bad_request, "no jobs, and no batch to seal", {}};
  if (replay.jobs.size() > core.options.limits.enqueue_jobs_max)
    return Error{ErrorCode::too_large,
                 fmt::format("{} jobs in one request are over the limit of {} (enqueue_jobs_max)",
                             replay.jobs.size(), core.options.limits.enqueue_jobs_max),
                 {}};
  if (auto error = check_batch(core, replay.batch)) return error;
  if (core.space != Space::plenty)
    return Error{ErrorCode::storage_full,
                 "the broker's disk is nearly full (--min-free): free space, then send again",
                 Duration{1000}};
  return std::nullopt;
}

/// Only jobs that have ended are replayed; the order of the request is kept.
std::vector<JobRecord> ended_in_order(const protocol::Replay& replay, LoadedJobs& loaded) {
  std::map<JobId, JobRecord*> by_id;
  for (JobRecord& record : loaded.jobs)
    if (is_final(record.status.state)) by_id.emplace(record.id, &record);
  std::vector<JobRecord> origins;
  for (JobId id : replay.jobs) {
    const auto found = by_id.find(id);
    if (found == by_id.end()) continue;
    origins.push_back(std::move(*found->second));
    by_id.erase(found);
  }
  return origins;
}

bool refuse_not_replayable(Core& core, const Received& command, const protocol::Replay& replay,
                           const std::vector<LaneId>& lanes) {
  if (replay.force) return false;
  for (const LaneId id : lanes) {
    const std::string& kind = core.lane(id).kind;
    if (!kind_options(core, kind).not_replayable) continue;
    core.refuse(command, ErrorCode::not_replayable,
                fmt::format("kind `{}` says that its jobs must not be replayed: leave it out, or "
                            "use --force",
                            kind));
    return true;
  }
  return false;
}

void replay_loaded(Core& core, Received command, LoadedJobs loaded, Now now) {
  const auto replay = std::get<protocol::Replay>(command.message);
  const std::uint64_t hash = body_hash(replay);
  // A resend may have been answered while this one waited.
  if (recorded_request(core, command, replay.request, hash)) return;
  if (auto error = check_replay(core, replay))
    return core.refuse(command, error->code, error->message, error->after);
  std::vector<JobRecord> origins = ended_in_order(replay, loaded);
  std::vector<LaneId> lanes;
  lanes.reserve(origins.size());
  for (const JobRecord& origin : origins) lanes.push_back(origin.spec.lane);
  if (refuse_not_replayable(core, command, replay, lanes) || refuse_closed(core, command, lanes) ||
      refuse_full(core, command, lanes))
    return;

  protocol::Enqueued answer{replay.batch, {}, origins.size(), {}, {}};
  if (!origins.empty() || replay.batch) {
    const JobId first = next_job_ids(core, origins.size());
    Batch& batch = batch_for_new_jobs(core, replay.batch, first, command.session, replay.seal, now);
    batch.row.total += origins.size();
    batch_changed(core, batch);
    answer.batch = batch.row.id;
    if (!origins.empty()) answer.first = first;
    for (std::size_t i = 0; i < origins.size(); ++i) {
      answer.replay_of.push_back(origins[i].id);
      reopen_if_drained(core, *core.lane(origins[i].spec.lane).queue);
      core.create(JobId{first.value + i}, copy_of(origins[i], answer.batch, now), now);
    }
  }
  remember_request(core, {replay.request,
                          hash,
                          answer.batch,
                          answer.first,
                          answer.count,
                          answer.replay_of,
                          {},
                          now.utc});
  core.reply(command.from, command.correlation, std::move(answer));
}

}  // namespace

void adopt_visitors(Core& core, std::vector<JobRecord>& jobs, std::vector<BatchRow>& batches,
                    std::uint64_t batch) {
  for (JobRecord& record : jobs) {
    const auto changed = core.changed.find(record.id);
    if (core.jobs.contains(record.id)) continue;
    if (changed != core.changed.end() && changed->second > batch) continue;
    core.visitors.push_back(record.id);
    core.adopt(std::move(record));
  }
  for (BatchRow& row : batches) {
    const auto [entry, inserted] = core.batches.try_emplace(row.id);
    if (!inserted) continue;
    core.visiting_batches.push_back(row.id);
    entry->second.row = std::move(row);
  }
}

ItemStatus cancel_job(Core& core, JobId id, std::string error, Now now) {
  Job* job = core.find_job(id);
  if (job == nullptr) return ItemStatus::not_found;
  if (is_final(job->status.state)) return ItemStatus::refused;
  core.touch(id, *job);
  if (job->status.state == JobState::leased) {
    const LeaseId lease = job->status.lease;
    if (const Session* session = job->session)
      core.reply(session->connection, 0,
                 protocol::Cancel{.jobs = {}, .leases = {lease}, .reason = "cancelled"});
    if (!planted(Mutant::late_ack_wins)) close_lease(core, id, *job, ItemStatus::cancelled);
  }
  if (!error.empty()) job->status.error = std::move(error);
  core.apply(id, *job, JobEvent::cancel, now);
  return ItemStatus::ok;
}

void run_by_id(Core& core, Parked parked, Now now) {
  const auto* cancel = std::get_if<protocol::Cancel>(&parked.command.message);
  const std::vector<JobId>& ids =
      cancel != nullptr ? cancel->jobs : std::get<protocol::Redrive>(parked.command.message).jobs;
  parked.asked = missing_jobs(core, ids, parked.absent);
  // Who holds a key now is only in the store, also when the job itself is at hand.
  const bool keys_unknown = cancel == nullptr && parked.unique.batch == 0;
  if (parked.asked.empty() && keys_unknown && any_has_key(core, ids)) parked.asked = ids;
  if (!parked.asked.empty()) return park(core, std::move(parked), false);
  if (cancel != nullptr) {
    cancel_known(core, parked.command, now);
  } else {
    redrive_known(core, parked, now);
  }
}

void on_replay(Core& core, Received command, Now now) {
  const auto& replay = std::get<protocol::Replay>(command.message);
  if (replay.request.prefix == 0 || replay.request.counter == 0)
    return core.refuse(command, ErrorCode::bad_request, "`request` is missing");
  if (known_request(core, command, replay.request, body_hash(replay), now)) return;
  if (park_for_batch(core, command, replay.batch)) return;
  if (auto error = check_replay(core, replay))
    return core.refuse(command, error->code, error->message, error->after);
  auto ids = replay.jobs;
  park(core, {std::move(command), std::move(ids), {}, {}, {}, {}}, true);
}

void on_loaded_jobs(Core& core, LoadedJobs loaded, std::uint64_t batch, Now now) {
  auto node = core.parked.extract(loaded.ticket);
  if (node.empty()) return;
  Parked& parked = node.mapped();
  if (std::holds_alternative<protocol::Replay>(parked.command.message))
    return replay_loaded(core, std::move(parked.command), std::move(loaded), now);
  if (!std::holds_alternative<protocol::Cancel>(parked.command.message) &&
      !std::holds_alternative<protocol::Redrive>(parked.command.message))
    return on_loaded_settlement(core, std::move(parked), loaded, now);
  parked.absent.insert(parked.asked.begin(), parked.asked.end());
  for (const JobRecord& record : loaded.jobs) parked.absent.erase(record.id);
  adopt_visitors(core, loaded.jobs, loaded.batches, batch);
  parked.unique = {std::move(loaded.unique), batch};
  run_by_id(core, std::move(parked), now);
}

}  // namespace millrace::broker

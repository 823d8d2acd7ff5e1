#include "broker/engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "broker/engine/core.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;

constexpr Duration kSessionCheckEvery{250};
constexpr std::size_t kRequestLogsMax = 4096;
constexpr std::size_t kChangedMin = 4096;

template <class T>
concept FromWorker = std::is_same_v<T, protocol::Ack> || std::is_same_v<T, protocol::Nack> ||
    std::is_same_v<T, protocol::Reject> || std::is_same_v<T, protocol::Release>;

/// One message of a peer that has a session.
struct Handle {
  Core& core;
  Session& session;
  Received& command;
  Now now;

  void operator()(protocol::Enqueue&) { on_enqueue(core, std::move(command), now); }
  void operator()(protocol::Replay&) { on_replay(core, std::move(command), now); }
  void operator()(protocol::Redrive&) {
    run_by_id(core, {std::move(command), {}, {}, {}, {}, {}}, now);
  }
  void operator()(protocol::Cancel&) {
    run_by_id(core, {std::move(command), {}, {}, {}, {}, {}}, now);
  }
  void operator()(protocol::Output&) { on_output(core, session, std::move(command), now); }
  void operator()(protocol::Await& m) { on_await(core, session, command, m); }
  void operator()(protocol::WatchOutput& m) { on_watch_output(core, session, command, m); }
  void operator()(protocol::KindSet& m) { on_kind_set(core, command, m); }
  void operator()(protocol::Dismiss& m) { on_dismiss(core, command, m); }
  void operator()(protocol::Backup& m) {
    core.effects.reads.emplace_back(MakeBackup{command.from, command.correlation, m.path});
  }
  void operator()(protocol::Offer& m) { on_offer(core, session, command, m, now); }
  void operator()(protocol::Credit& m) { add_credit(core, session, m.upto); }
  void operator()(protocol::Started& m) { on_started(core, session, m, now); }
  void operator()(FromWorker auto& m) {
    on_settle<std::decay_t<decltype(m)>>(core, session, std::move(command), now);
  }
  void operator()(protocol::Heartbeat& m) { on_heartbeat(core, session, command, m, now); }
  void operator()(protocol::Resume& m) { on_resume(core, session, command, m, now); }
  void operator()(protocol::Bye&) { on_bye(core, session, now); }
  void operator()(protocol::Watch& m) { on_watch(core, session, command, m); }
  void operator()(protocol::Unwatch& m) { on_unwatch(core, session, m.batch); }
  void operator()(protocol::Close& m) { on_close(core, session, command, m, now); }
  void operator()(protocol::Open& m) { on_open(core, command, m); }
  void operator()(protocol::Pause& m) { on_pause(core, command, m.queue, true); }
  void operator()(protocol::Unpause& m) { on_pause(core, command, m.queue, false); }
  void operator()(protocol::Stats& m) { on_stats(core, command, m, now); }
  void operator()(protocol::List& m) { inspect(m); }
  void operator()(protocol::Show& m) { inspect(m); }
  template <class Other>
  void operator()(Other&) {
    core.refuse(command, ErrorCode::bad_request,
                fmt::format("`{}` is for the broker to send", type_name(command.message)));
  }

 private:
  template <class Request>
  void inspect(Request& request) {
    core.effects.reads.emplace_back(Inspect{command.from, command.correlation, std::move(request)});
  }
};

void on_received(Core& core, Received command, Now now) {
  if (auto* hello = std::get_if<protocol::Hello>(&command.message))
    return on_hello(core, command, *hello, now);
  const auto connection = core.connections.find(command.from);
  if (connection == core.connections.end())
    return core.refuse(command, ErrorCode::no_session, "say HELLO first");
  Session& session = *connection->second;
  session.heard_at = now.mono;
  session.seen_at = now.utc;
  command.session = session.id;
  std::visit(Handle{core, session, command, now}, command.message);
}

struct OnLoaded {
  Core& core;
  std::uint64_t batch;
  Now now;

  void operator()(LoadedReady& l) { on_loaded_ready(core, std::move(l), batch, now); }
  void operator()(LoadedScheduled& l) { on_loaded_scheduled(core, std::move(l), batch, now); }
  void operator()(LoadedJobs& l) {
    --core.job_loads_under_way;
    on_loaded_jobs(core, std::move(l), batch, now);
  }
  void operator()(LoadedRequest& l) { on_loaded_request(core, std::move(l), now); }
  void operator()(LoadedBatch& l) { on_loaded_batch(core, std::move(l), batch, now); }
  void operator()(LoadedUnique& l) {
    --core.job_loads_under_way;
    on_loaded_unique(core, std::move(l), batch, now);
  }
  void operator()(LoadedExpired& l) {
    --core.job_loads_under_way;
    on_loaded_expired(core, std::move(l), batch, now);
  }
  void operator()(Pruned& p) { on_pruned(core, p, now); }
};

/// A load sees all changes of its own batch and of earlier ones; only later ones need remembering.
void forget_changes(Core& core) {
  if (core.loads_under_way.empty()) {
    core.changed.clear();
    forget_unique_changes(core, core.batch_number);
  } else if (core.changed.size() >= core.changed_max) {
    const std::uint64_t oldest = core.loads_under_way.front();
    std::erase_if(core.changed, [&](const auto& entry) { return entry.second <= oldest; });
    forget_unique_changes(core, oldest);
    core.changed_max = std::max(kChangedMin, 2 * core.changed.size());
  }
}

void on_loaded(Core& core, Loaded loaded, Now now) {
  MR_ASSERT(!core.loads_under_way.empty(), "a load nobody asked for");
  const std::uint64_t batch = core.loads_under_way.front();
  std::visit(OnLoaded{core, batch, now}, loaded);
  core.loads_under_way.pop_front();
  forget_changes(core);
}

/// A stall of the broker itself is nobody else's fault: every deadline of a peer moves by it.
void forgive_stall(Core& core, Now now) {
  const Duration gap = now.mono - core.last_turn;
  core.last_turn = now.mono;
  if (gap <= kStallMin) return;
  for (auto& [id, session] : core.sessions)
    session.heard_at = std::min(now.mono, session.heard_at + gap);
  if (core.orphans_until != Instant::max()) core.orphans_until += gap;
}

void check_sessions(Core& core, Now now, bool inbox_empty) {
  if (now.mono - core.sessions_checked_at < kSessionCheckEvery || !inbox_empty) return;
  core.sessions_checked_at = now.mono;
  lose_silent_sessions(core, now);
  end_resume_grace(core, now);
  // Producers that ended leave their recent requests; the store has them all.
  while (core.requests.size() > kRequestLogsMax) {
    const auto oldest = std::min_element(
        core.requests.begin(), core.requests.end(),
        [](const auto& a, const auto& b) { return a.second.used_at < b.second.used_at; });
    if (oldest->second.loading) break;
    core.requests.erase(oldest);
  }
}

// ---- taking a batch
// ------------------------------------------------------------------------------

void write_job(Core& core, JobId id, Job& job) {
  WriteBatch& writes = core.effects.writes;
  if (job.fresh) {
    const bool keep = job.indexed && job.payload_bytes <= kPayloadInlineMax;
    JobInsert& insert = writes.inserts.emplace_back();
    insert.id = id;
    insert.spec = job.spec;
    insert.status = job.status;
    if (keep) {
      insert.payload = job.payload;
    } else {
      if (job.indexed && job.status.state == JobState::ready)
        core.lane_of(job).bytes -= job.payload.size();
      insert.payload = std::exchange(job.payload, {});
    }
  } else {
    JobUpdate& update = writes.updates.emplace_back();
    update.id = id;
    update.from_state = job.from_state;
    update.from_lease = job.from_lease;
    update.status = job.status;
    update.result = std::exchange(job.result, std::nullopt);
    update.plain = job.spec.expires_at == Time{} && job.spec.unique_key.empty();
    update.lane = job.spec.lane;
    update.priority = job.spec.priority;
    update.batch = job.spec.batch;
  }
  job.fresh = job.dirty = false;
  if (job.indexed) return;
  if (!core.loads_under_way.empty()) core.changed[id] = core.batch_number;
  core.jobs.erase(id);
}

void write_lanes(Core& core) {
  for (LaneId id : std::exchange(core.new_lanes, {})) {
    const Lane& lane = core.lane(id);
    core.effects.writes.lanes.push_back({id, lane.queue->row.name, lane.kind, {}});
  }
  for (LaneId id : std::exchange(core.dirty_lanes, {})) {
    Lane& lane = core.lane(id);
    lane.dirty = false;
    core.effects.writes.lane_deltas.push_back(
        {id, std::exchange(lane.deltas, {}), std::exchange(lane.bytes_deltas, {})});
  }
}

void write_batches(Core& core) {
  for (BatchId id : std::exchange(core.dirty_batches, {})) {
    Batch& batch = core.batches.at(id);
    batch.dirty = false;
    if (!batch.implicit) core.effects.writes.batches.push_back(batch.row);
    forget_if_idle(core, id);
  }
  for (BatchId id : std::exchange(core.visiting_batches, {})) forget_if_idle(core, id);
}

void write_all(Core& core) {
  WriteBatch& writes = core.effects.writes;
  writes.inserts.reserve(writes.inserts.size() + core.dirty_jobs.size());
  writes.updates.reserve(writes.updates.size() + core.dirty_jobs.size());
  for (const auto& [id, job] : std::exchange(core.dirty_jobs, {})) write_job(core, id, *job);
  for (JobId id : std::exchange(core.visitors, {})) {
    const Job* job = core.find_job(id);
    if (job != nullptr && !job->indexed && !planted(Mutant::visitor_stays)) core.jobs.erase(id);
  }
  write_lanes(core);
  write_batches(core);
  write_kinds(core);
  write_unique(core);
  for (const std::string& name : std::exchange(core.dirty_queues, {})) {
    Queue& queue = core.queues.find(name)->second;
    queue.dirty = false;
    core.effects.writes.queues.push_back(queue.row);
  }
  if (std::exchange(core.marks_dirty, false)) {
    core.effects.writes.last_job = core.last_job;
    core.effects.writes.last_finish = core.last_finish;
    core.effects.writes.last_output = core.last_output;
  }
}

Instant next_tick(const Core& core, Now now) {
  Instant next = Instant::max();
  if (!core.due.empty()) next = std::min(next, core.due.begin()->first);
  if (!core.timeouts.empty()) next = std::min(next, core.timeouts.begin()->first);
  if (!core.start_writes.empty()) next = std::min(next, core.start_writes.begin()->first);
  if (!core.sessions.empty() || core.orphans_until != Instant::max())
    next = std::min(next, now.mono + kSessionCheckEvery);
  if (!core.pruning) next = std::min({next, core.prune_at, core.excess_check_at});
  if (!core.expiry_loading) next = std::min(next, core.expiry_at);
  return std::max(next, now.mono);
}

// ---- starting
// ------------------------------------------------------------------------------------

void restore_lanes(Core& core, Snapshot& snapshot) {
  for (QueueRow& row : snapshot.queues) {
    Queue& queue = core.queues[row.name];
    queue.row = std::move(row);
  }
  for (const LaneRow& row : snapshot.lanes) {
    Lane& lane = core.lanes.emplace_back();
    MR_ASSERT(row.id.value == core.lanes.size(), "lane ids have a gap at {}", row.id.value);
    lane.id = row.id;
    lane.kind = row.kind;
    lane.queue = &core.queues[row.queue];
    lane.queue->row.name = row.queue;
    lane.queue->lanes.push_back(row.id);
    lane.counts = row.counts;
    lane.ended_bytes = row.bytes;
    for (std::size_t s = 0; s < kJobStateCount; ++s) lane.queue->counts[s] += row.counts[s];
    lane.ready.whole = row.counts[static_cast<std::size_t>(JobState::ready)] == 0;
    lane.ready.frontier = {-1, JobId{}};
    core.scheduled_total += row.counts[static_cast<std::size_t>(JobState::scheduled)];
    lane.queue->lanes_by_kind.emplace(row.kind, row.id);
  }
  core.scheduled.whole = core.scheduled_total == 0;
}

void restore_leases(Core& core, Snapshot& snapshot, Now now) {
  for (JobRecord& record : snapshot.leased) {
    const JobId id = record.id;
    Job& job = core.adopt(std::move(record));
    job.indexed = true;
    job.leased_at = now.mono;
    job.started = job.status.started_at != Time{};
    job.started_at = now.mono;
    core.orphans.emplace(std::pair{job.status.worker, job.status.lease}, id);
  }
  for (WorkerRow& row : snapshot.workers) core.orphan_workers.emplace(row.id, std::move(row));
}

}  // namespace

Engine::Engine(EngineOptions options, Snapshot snapshot, Now now)
    : core_(std::make_unique<Core>()) {
  Core& core = *core_;
  core.options = std::move(options);
  core.random_state = core.options.seed;
  core.jobs.max_load_factor(0.5F);  // nearly always one step: a step is a division
  core.epoch = snapshot.epoch;
  core.last_job = snapshot.last_job;
  core.last_finish = snapshot.last_finish;
  core.last_worker = snapshot.last_worker;
  core.last_output = snapshot.last_output;
  core.started_at = now.utc;
  core.last_turn = core.sessions_checked_at = now.mono;
  core.prune_at = core.excess_check_at = core.expiry_at = now.mono;
  core.wall_offset = core.steady_offset = core.last_offset =
      now.utc.time_since_epoch() - now.mono.time_since_epoch();
  for (KindRow& row : snapshot.kinds) core.kinds.emplace(row.name, std::move(row));
  restore_lanes(core, snapshot);
  restore_leases(core, snapshot, now);
  for (BatchRow& row : snapshot.batches) core.batches[row.id].row = std::move(row);
  core.orphans_until = now.mono;
  if (!planted(Mutant::restart_requeues)) core.orphans_until += core.options.resume_grace;
  // A queue whose last job ended in the batch that a crash undid must still drain.
  for (auto& [name, queue] : core.queues) check_drained(core, queue);
}

Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;

void Engine::step(Command command, Now now) {
  Core& core = *core_;
  if (auto* received = std::get_if<Received>(&command)) {
    on_received(core, std::move(*received), now);
  } else if (auto* loaded = std::get_if<Loaded>(&command)) {
    on_loaded(core, std::move(*loaded), now);
  } else if (auto* read = std::get_if<ResultsRead>(&command)) {
    on_results_read(core, std::move(*read));
  } else if (auto* job = std::get_if<JobRead>(&command)) {
    on_job_read(core, std::move(*job));
  } else if (auto* undelivered = std::get_if<Undelivered>(&command)) {
    on_undelivered(core, *undelivered, now);
  } else {
    core.space = std::get<SpaceChanged>(command).space;
    core.dispatch_wanted = true;
  }
}

void Engine::tick(Now now, bool inbox_empty) {
  Core& core = *core_;
  forgive_stall(core, now);
  follow_wall_clock(core, now);
  run_due_jobs(core, now);
  expire_jobs(core, now);
  time_out_runs(core, now);
  write_starts(core, now);
  check_sessions(core, now, inbox_empty);
  prune_if_due(core, now);
}

Effects Engine::take_effects(Now now) {
  Core& core = *core_;
  dispatch(core, now);
  send_deliveries(core);
  pump_watches(core);
  send_workers_home(core);
  write_all(core);
  Effects effects = std::exchange(core.effects, {});
  effects.next_tick = next_tick(core, now);
  ++core.batch_number;
  return effects;
}

std::vector<Reply> Engine::take_replies_now() {
  return std::exchange(core_->effects.replies_now, {});
}

std::size_t Engine::jobs_in_memory() const { return core_->jobs.size(); }
std::size_t Engine::sessions() const { return core_->sessions.size(); }

}  // namespace millrace::broker

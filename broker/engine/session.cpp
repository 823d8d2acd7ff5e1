// Who is there: HELLO, OFFER, credit, heartbeats, RESUME, BYE, and who is lost.

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "broker/engine/core.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;
using protocol::ItemStatus;

constexpr std::size_t kSessionIdBytes = 16;
constexpr std::size_t kOfferedQueuesMax = 1000;
constexpr std::size_t kPoolSlotsMax = 100'000;
/// A lease that a worker never got is older than this before anybody doubts it.
constexpr int kBeatsBeforeDoubt = 2;
/// Two RESUMEs on their way at once would be a danger: the second does not name what was delivered
/// after the first.
constexpr int kBeatsBetweenAsking = 5;

void unbind(Core& core, Session& session) {
  drop_waits(core, session, session.connection);
  core.connections.erase(session.connection);
  session.connection = {};
}

void bind(Core& core, Session& session, ConnectionId connection, Now now) {
  if (session.connection != connection) {
    unbind(core, session);
    // What was sent on the old connection may be lost: watches begin again from the peer's cursor,
    // and a worker that was told to leave is told again.
    drop_watches(core, session);
    session.told_to_leave = false;
  }
  // A worker tells what it holds before it gets more: a RESUME that was on its way when something
  // was delivered would give that back while it runs.
  session.resuming = session.role == protocol::Role::worker;
  const auto previous = core.connections.find(connection);
  if (previous != core.connections.end() && previous->second != &session) {
    drop_waits(core, *previous->second, connection);
    previous->second->connection = {};
  }
  session.connection = connection;
  session.heard_at = now.mono;
  session.seen_at = now.utc;
  core.connections[connection] = &session;
}

Session& new_session(Core& core, const protocol::Hello& hello, Now now) {
  Session& session = core.sessions[hello.session];
  session.id = hello.session;
  session.role = hello.role;
  session.row = {.id = {},
                 .session = hello.session,
                 .name = hello.name.substr(0, 128),
                 .host = hello.host.substr(0, 256),
                 .pid = hello.pid,
                 .connected_at = now.utc,
                 .left_at = {}};
  if (session.role != protocol::Role::worker) return session;
  // Leases from before a restart name the worker's old row; keep it, so that they still match.
  for (const auto& [id, row] : core.orphan_workers)
    if (row.session == hello.session) session.row.id = id;
  if (!session.row.id) session.row.id = core.last_worker = WorkerId{core.last_worker.value + 1};
  core.effects.writes.workers.push_back(session.row);
  return session;
}

protocol::Welcome welcome(const Core& core, bool known, Now now) {
  const Limits& limits = core.options.limits;
  return {.version = protocol::kVersion,
          .broker = core.options.version,
          .epoch = core.epoch,
          .known = known,
          .now = now.utc,
          .heartbeat = kHeartbeat,
          .lost_after = core.options.lost_after,
          .payload_bytes_max = limits.payload_bytes_max,
          .result_bytes_max = limits.result_bytes_max,
          .enqueue_jobs_max = limits.enqueue_jobs_max,
          .enqueue_bytes_max = limits.enqueue_bytes_max,
          .leases_max = limits.leases_per_worker_max,
          .output_rows_max = limits.output_rows_max,
          .output_bytes_max = limits.output_bytes_max,
          .output_item_bytes_max = limits.output_item_bytes_max};
}

std::optional<std::string> check_offer(const Core& core, const protocol::Offer& offer) {
  if (offer.queues.empty() || offer.queues.size() > kOfferedQueuesMax)
    return fmt::format("an offer names 1 to {} queues", kOfferedQueuesMax);
  for (const std::string& name : offer.queues)
    if (!is_name(name))
      return fmt::format("queue `{:.80}` is no name: use 1 to 64 of a-z 0-9 . _ -", name);
  const std::uint64_t limit = core.options.limits.lanes_max;
  if (core.queues.size() + offer.queues.size() > limit) {
    const auto known = [&](const std::string& name) { return core.queues.contains(name); };
    const auto fresh = std::count_if(offer.queues.begin(), offer.queues.end(), std::not_fn(known));
    if (core.queues.size() + static_cast<std::size_t>(fresh) > limit)
      return fmt::format("the broker knows {} queues, its limit is {} (lanes_max)",
                         core.queues.size(), limit);
  }
  for (const auto& [pool, slots] : offer.pools)
    if (!is_name(pool) || slots < 1 || slots > kPoolSlotsMax)
      return fmt::format("pool `{:.80}` needs 1 to {} slots", pool, kPoolSlotsMax);
  for (const auto& [kind, pool] : offer.kinds)
    if (!is_name(kind) || !offer.pools.contains(pool))
      return fmt::format("kind `{:.80}` names pool `{:.80}`, which is not offered", kind, pool);
  for (const auto& [kind, options] : offer.kind_options) {
    if (!offer.kinds.contains(kind))
      return fmt::format("options of kind `{:.80}`, which is not offered", kind);
    if (auto wrong = check_kind_options(kind, options)) return wrong;
  }
  if (offer.pools.empty()) return "an offer names at least one pool";
  return std::nullopt;
}

void withdraw_offer(Core& core, Session& session) {
  for (const std::string& name : session.offer.queues)
    std::erase(core.queue(name).workers, &session);
  ++core.offers;
}

/// A session ends: its leases go back by `end_lease`, everything else is forgotten.
template <class EndLease>
void end_session(Core& core, Session& session, Now now, EndLease end_lease) {
  withdraw_offer(core, session);
  while (!session.leases.empty()) {
    const JobId id = session.leases.begin()->second;
    end_lease(id, *core.find_job(id));
  }
  drop_watches(core, session);
  drop_owner(core, session.id);
  for (auto& [name, queue] : core.queues)
    std::erase_if(queue.closers, [&](const auto& closer) { return closer.first == session.id; });
  if (session.role == protocol::Role::worker) {
    session.row.left_at = now.utc;
    core.effects.writes.workers.push_back(session.row);
  }
  unbind(core, session);
  core.leave_checks = true;
  core.sessions.erase(session.id);
}

/// The worker names a lease: is it still its own?
bool keep_lease(Core& core, Session& session, const protocol::HeldLease& held, Now now) {
  const auto [id, found] = open_lease(core, session, held.lease, held.job);
  if (found == nullptr) return false;
  Job& job = *found;
  const bool from_before_restart = job.session == nullptr;
  if (from_before_restart) {
    if (job.status.worker != session.row.id) return false;
    core.orphans.erase({job.status.worker, held.lease});
    job.session = &session;
    session.leases.emplace(held.lease, id);
    session.leases_hash ^= protocol::lease_hash(held.lease);
    const auto kind = session.offer.kinds.find(core.lane_of(job).kind);
    job.pool = kind == session.offer.kinds.end() ? nullptr : &session.pools.at(kind->second);
    if (job.pool != nullptr) ++job.pool->leased, ++job.pool->delivered;
  } else if (job.session != &session) {
    return false;
  }
  if (held.started && (!job.started || from_before_restart)) {
    job.started = true;
    job.started_at = now.mono - std::clamp(held.elapsed, Duration{0}, kDurationMax);
    job.status.started_at = now.utc - (now.mono - job.started_at);
    core.start_writes.emplace(job.started_at + kStartedWrittenAfter, id);
    if (job.spec.timeout.count() > 0)
      core.timeouts.emplace(job.started_at + job.spec.timeout + kHeartbeat, id);
  }
  return true;
}

/// Leases of the session that its RESUME did not name never reached it, or it forgot them.
void give_back_unnamed(Core& core, Session& session, const std::set<LeaseId>& named, Now now) {
  std::vector<JobId> unnamed;
  for (const auto& [lease, id] : session.leases)
    if (!named.contains(lease) || planted(Mutant::resume_gives_back)) unnamed.push_back(id);
  const auto first = core.orphans.lower_bound({session.row.id, LeaseId{}});
  for (auto it = first; it != core.orphans.end() && it->first.first == session.row.id; ++it)
    unnamed.push_back(it->second);
  for (JobId id : unnamed) give_back(core, id, *core.find_job(id), now);
}

/// A pool that holds nothing tells credit beyond what it was sent, unless the last delivery never
/// reached it and was taken back since, by a CANCEL.
bool starves(const Session& session) {
  return std::any_of(session.pools.begin(), session.pools.end(), [](const auto& entry) {
    const Pool& pool = entry.second;
    return pool.leased == 0 && pool.delivered != 0 && pool.delivered >= pool.upto;
  });
}

}  // namespace

void on_hello(Core& core, Received& command, const protocol::Hello& hello, Now now) {
  if (hello.version_min > protocol::kVersion || hello.version_max < protocol::kVersion)
    return core.refuse(command, ErrorCode::unsupported_version,
                       fmt::format("you speak versions {} to {}, this broker speaks {}",
                                   hello.version_min, hello.version_max, protocol::kVersion));
  if (hello.session.size() != kSessionIdBytes)
    return core.refuse(
        command, ErrorCode::bad_request,
        fmt::format("`session` is {} bytes, not {}", hello.session.size(), kSessionIdBytes));
  const auto found = core.sessions.find(hello.session);
  const bool known = found != core.sessions.end();
  if (known && found->second.role != hello.role)
    return core.refuse(command, ErrorCode::bad_request, "this session has another role");
  if (!known && core.sessions.size() >= core.options.limits.sessions_max)
    return core.refuse(command, ErrorCode::busy,
                       fmt::format("{} peers are connected, the limit is {} (sessions_max)",
                                   core.sessions.size(), core.options.limits.sessions_max),
                       Duration{1000});
  Session& session = known ? found->second : new_session(core, hello, now);
  bind(core, session, command.from, now);
  // Behind the deliveries that wait for their commit: the RESUME that answers names them too.
  core.reply(command.from, command.correlation, welcome(core, known, now));
}

void on_offer(Core& core, Session& session, Received& command, protocol::Offer& offer, Now now) {
  if (session.role != protocol::Role::worker)
    return core.refuse(command, ErrorCode::not_allowed, "only a worker may offer");
  if (const auto wrong = check_offer(core, offer))
    return core.refuse(command, ErrorCode::bad_request, *wrong);
  withdraw_offer(core, session);
  std::sort(offer.queues.begin(), offer.queues.end());
  offer.queues.erase(std::unique(offer.queues.begin(), offer.queues.end()), offer.queues.end());
  note_kinds(core, offer);
  session.offer = std::move(offer);
  for (const std::string& name : session.offer.queues) core.queue(name).workers.push_back(&session);
  for (const auto& [name, slots] : session.offer.pools) {
    Pool& pool = session.pools[name];
    pool.name = name;
    pool.slots = slots;
  }
  ++core.offers;
  session.told_to_leave = false;  // it would not offer if it had heard of it
  core.dispatch_wanted = core.leave_checks = true;
  session.seen_at = now.utc;
}

void add_credit(Core& core, Session& session, const std::map<std::string, std::uint64_t>& upto) {
  for (const auto& [name, number] : upto) {
    const auto pool = session.pools.find(name);
    if (pool == session.pools.end() || number <= pool->second.upto) continue;
    pool->second.upto = number;
    core.dispatch_wanted = true;
  }
}

void on_heartbeat(Core& core, Session& session, Received& command,
                  const protocol::Heartbeat& heartbeat, Now now) {
  core.reply_now(command.from, command.correlation, protocol::Heartbeat{});
  if (session.role != protocol::Role::worker) return;
  add_credit(core, session, heartbeat.credit);
  const bool same =
      heartbeat.held == session.leases.size() && heartbeat.held_hash == session.leases_hash;
  const bool starving = same && starves(session);
  if (same && !starving && !session.resuming) {
    session.mismatches = 0;
    return;
  }
  ++session.mismatches;
  if (session.resuming) {
    if (session.mismatches % kBeatsBetweenAsking == 0)
      core.reply(session.connection, 0, protocol::ResumeWanted{});
    return;
  }
  if (session.mismatches < kBeatsBeforeDoubt) return;
  // Under load the sets always differ by what is on its way. Only a lease that is old and was never
  // started can be one that got lost.
  const Instant old = now.mono - kBeatsBeforeDoubt * kHeartbeat;
  const bool doubtful =
      starving || std::any_of(session.leases.begin(), session.leases.end(), [&](const auto& lease) {
        const Job& job = *core.find_job(lease.second);
        return !job.started && job.leased_at < old;
      });
  if (!doubtful || planted(Mutant::lost_delivery_stays)) return;
  session.mismatches = 0;
  session.resuming = true;
  // Behind all deliveries: when the worker reads it, everything sent before has arrived.
  core.reply(session.connection, 0, protocol::ResumeWanted{});
}

void on_resume(Core& core, Session& session, Received& command, const protocol::Resume& resume,
               Now now) {
  protocol::Resumed resumed;
  std::set<LeaseId> named;
  for (const protocol::HeldLease& held : resume.leases) {
    const bool keep = keep_lease(core, session, held, now);
    (keep ? resumed.keep : resumed.drop).push_back(held.lease);
    if (keep) named.insert(held.lease);
  }
  // Only a RESUME that was due tells all: a late, repeated one does not know what came since.
  if (session.resuming) give_back_unnamed(core, session, named, now);
  core.orphan_workers.erase(session.row.id);
  for (const auto& [name, pool] : session.pools) resumed.delivered[name] = pool.delivered;
  session.resuming = false;
  session.mismatches = 0;
  core.dispatch_wanted = core.leave_checks = true;
  core.reply(command.from, command.correlation, std::move(resumed));
}

void on_bye(Core& core, Session& session, Now now) {
  end_session(core, session, now, [&](JobId id, Job& job) { give_back(core, id, job, now); });
}

void on_dismiss(Core& core, const Received& command, const protocol::Dismiss& dismiss) {
  protocol::Outcomes outcomes;
  for (const WorkerId id : dismiss.workers) {
    const auto found = std::find_if(core.sessions.begin(), core.sessions.end(), [&](auto& entry) {
      return entry.second.role == protocol::Role::worker && entry.second.row.id == id;
    });
    if (found != core.sessions.end()) found->second.dismissed = true;
    outcomes.statuses.push_back(found != core.sessions.end() ? ItemStatus::ok
                                                             : ItemStatus::not_found);
  }
  core.leave_checks = true;
  core.reply(command.from, command.correlation, std::move(outcomes));
}

void lose_silent_sessions(Core& core, Now now) {
  std::vector<SessionId> lost;
  for (const auto& [id, session] : core.sessions) {
    // A producer holds nothing that others wait for, only its unsealed batches: it has longer.
    const bool worker = session.role == protocol::Role::worker;
    const Duration patience = worker ? core.options.lost_after : core.options.resume_grace;
    if (now.mono - session.heard_at > patience) lost.push_back(id);
  }
  for (const SessionId& id : lost)
    end_session(core, core.sessions.at(id), now,
                [&](JobId job_id, Job& job) { lose_lease(core, job_id, job, now); });
}

void end_resume_grace(Core& core, Now now) {
  if (core.orphans_until == Instant::max() || now.mono < core.orphans_until) return;
  core.orphans_until = Instant::max();
  std::vector<JobId> lost;
  for (const auto& [lease, id] : core.orphans) lost.push_back(id);
  for (JobId id : lost) lose_lease(core, id, *core.find_job(id), now);
  core.orphan_workers.clear();
  // Producers that did not come back leave their batches as they are.
  std::set<SessionId> gone;
  for (const auto& [id, batch] : core.batches)
    if (!batch.row.owner.empty() && !core.sessions.contains(batch.row.owner))
      gone.insert(batch.row.owner);
  for (const SessionId& owner : gone) drop_owner(core, owner);
}

}  // namespace millrace::broker

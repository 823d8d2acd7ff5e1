// How runs end: ACK, NACK, REJECT, RELEASE, timeouts, lost workers. Every way back to ready goes
// through `give_back` or `fail_attempt`, which alone do the accounting.

#include <fmt/format.h>

#include <algorithm>

#include "broker/engine/core.h"
#include "common/retry.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;
using protocol::ItemStatus;

constexpr std::size_t kClosedLeasesKept = 4096;  // per session

std::string cut(std::string text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  text.resize(bytes_max);
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.pop_back();
  if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xC0) text.pop_back();
  return text;
}

Duration retry_delay(Core& core, const Job& job) {
  RetryPolicy policy;
  if (!job.spec.retry.empty()) {
    if (auto own = parse_retry(job.spec.retry)) policy = std::move(*own);
  } else if (job.spec.backoff.count() > 0) {
    policy.first = job.spec.backoff;
  }
  return policy.delay(job.status.attempts - job.status.attempts_base, core.random());
}

void write_attempt(Core& core, JobId id, Job& job, const char* outcome, Now now) {
  // The wall clock may have gone back since.
  job.status.started_at = std::min(job.status.started_at, now.utc);
  core.effects.writes.attempts.push_back({.job = id,
                                          .attempt = job.status.attempts + job.status.crashes,
                                          .worker = job.status.worker,
                                          .started_at = job.status.started_at,
                                          .finished_at = now.utc,
                                          .outcome = outcome,
                                          .error = job.status.error});
}

/// The process of a run was lost, with its worker or alone: charged as a crash, and given back at
/// once unless the job has taken down as many as it may. `poison` is what is then said of it.
void count_crash(Core& core, JobId id, Job& job, std::string error, ItemStatus later, Now now,
                 std::string (*poison)(const JobStatus&)) {
  core.touch(id, job);
  close_lease(core, id, job, later);
  ++job.status.crashes;
  job.status.error = cut(std::move(error), core.options.limits.error_bytes_max);
  write_attempt(core, id, job, "crash", now);
  const int crashes_max =
      planted(Mutant::crashes_max_ignored) ? kCrashesMaxDefault : job.spec.crashes_max;
  if (job.status.crashes - job.status.crashes_base >= crashes_max &&
      !planted(Mutant::poison_forever)) {
    job.status.error = cut(poison(job.status), core.options.limits.error_bytes_max);
    core.apply(id, job, JobEvent::bury, now);
  } else {
    wait_again(core, id, job, JobEvent::give_back, now);
  }
}

/// An outcome implies that the run had started, even if STARTED was never seen.
void note_run(Job& job, const protocol::Outcome& item, Now now) {
  const Duration elapsed = std::clamp(item.elapsed, Duration{0}, kDurationMax);
  if (!job.started || item.elapsed.count() > 0) job.status.started_at = now.utc - elapsed;
  job.started = true;
}

std::string crash_text(protocol::Outcome& item) {
  return item.error.empty() ? "crash: the process of the run was lost" : std::move(item.error);
}

void settle(Core& core, JobId id, Job& job, protocol::Outcome& item, protocol::Ack*, Now now) {
  note_run(job, item, now);
  const std::size_t limit = core.options.limits.result_bytes_max;
  if (item.result.size() > limit) {
    fail_attempt(core, id, job, "reject",
                 fmt::format("result_too_large: {} bytes, the limit is {} (result_bytes_max)",
                             item.result.size(), limit),
                 Duration{-1}, true, now);
    return;
  }
  close_lease(core, id, job, ItemStatus::duplicate);
  core.touch(id, job);
  ++job.status.attempts;
  job.status.error.clear();
  job.result = std::move(item.result);
  core.apply(id, job, JobEvent::ack, now);
}

void settle(Core& core, JobId id, Job& job, protocol::Outcome& item, protocol::Nack*, Now now) {
  note_run(job, item, now);
  if (item.crashed && !planted(Mutant::crash_charged))
    return count_crash(
        core, id, job, crash_text(item), ItemStatus::duplicate, now, [](const JobStatus& status) {
          return fmt::format("poison: crashed {} times; last: {}", status.crashes, status.error);
        });
  const bool too_long = job.spec.timeout.count() > 0 && item.elapsed >= job.spec.timeout;
  fail_attempt(core, id, job, too_long ? "timeout" : "nack", std::move(item.error), item.delay,
               false, now);
}

void settle(Core& core, JobId id, Job& job, protocol::Outcome& item, protocol::Reject*, Now now) {
  note_run(job, item, now);
  fail_attempt(core, id, job, "reject", std::move(item.error), Duration{-1}, true, now);
}

void settle(Core& core, JobId id, Job& job, protocol::Outcome&, protocol::Release*, Now now) {
  give_back(core, id, job, now);
}

/// The first entry from `lease` on.
auto place_of(auto& closed_leases, LeaseId lease) {
  return std::lower_bound(closed_leases.begin(), closed_leases.end(), lease,
                          [](const auto& entry, LeaseId id) { return entry.first < id; });
}

/// What a lease that is not open any more was: nothing when only the store can tell.
std::optional<ItemStatus> late_status(const Session& session, LeaseId lease) {
  const auto closed = place_of(session.closed_leases, lease);
  if (closed == session.closed_leases.end() || closed->first != lease) return std::nullopt;
  return closed->second;
}

/// The crash that the row tells of is the one that this outcome tells of: the job is ready again,
/// after a run.
bool is_crash(const protocol::Outcome& item, const JobRecord& record) {
  return item.crashed && record.status.state == JobState::ready && record.status.crashes > 0 &&
         record.status.started_at != Time{};
}

bool is_leased(const Job& job, LeaseId lease) {
  return job.status.state == JobState::leased && job.status.lease == lease;
}

void note_closed(Session& session, LeaseId lease, ItemStatus later) {
  auto& closed = session.closed_leases;
  const auto place = place_of(closed, lease);  // near the end: leases rise, and most are short
  if (place != closed.end() && place->first == lease)
    place->second = later;
  else
    closed.emplace(place, lease, later);
  if (closed.size() > kClosedLeasesKept) closed.pop_front();
}

}  // namespace

OpenLease open_lease(Core& core, const Session& session, LeaseId lease, JobId named) {
  Job* const job = core.find_job(named);
  if (job != nullptr && is_leased(*job, planted(Mutant::stale_lease) ? job->status.lease : lease))
    return {named, job};
  const auto own = session.leases.find(lease);
  if (own != session.leases.end()) return {own->second, core.find_job(own->second)};
  const auto orphan = core.orphans.find({session.row.id, lease});
  if (orphan != core.orphans.end()) return {orphan->second, core.find_job(orphan->second)};
  return {};
}

bool is_own(const Session& session, const Job& job) {
  return job.session == &session || (!job.session && job.status.worker == session.row.id);
}

void close_lease(Core& core, JobId id, Job& job, ItemStatus later) {
  const LeaseId lease = job.status.lease;
  core.timeouts.erase({job.started_at + job.spec.timeout + kHeartbeat, id});
  core.start_writes.erase({job.started_at + kStartedWrittenAfter, id});
  if (Session* session = job.session) {
    if (session->leases.size() == core.options.limits.leases_per_worker_max)
      core.dispatch_wanted = true;  // it had no room; its credit may be there
    session->leases.erase(lease);
    session->leases_hash ^= protocol::lease_hash(lease);
    if (job.pool != nullptr && job.pool->leased > 0) --job.pool->leased;
    note_closed(*session, lease, later);
    core.leave_checks = true;
  } else {
    core.orphans.erase({job.status.worker, lease});
  }
  job.session = nullptr;
  job.pool = nullptr;
  job.started = false;
}

void give_back(Core& core, JobId id, Job& job, Now now) {
  core.touch(id, job);
  close_lease(core, id, job, ItemStatus::stale);
  if (planted(Mutant::release_charged)) ++job.status.attempts;
  job.status.started_at = {};
  wait_again(core, id, job, JobEvent::give_back, now);
}

void fail_attempt(Core& core, JobId id, Job& job, const char* outcome, std::string error,
                  Duration delay, bool last, Now now) {
  core.touch(id, job);
  close_lease(core, id, job, ItemStatus::duplicate);
  ++job.status.attempts;
  job.status.error = cut(std::move(error), core.options.limits.error_bytes_max);
  write_attempt(core, id, job, outcome, now);
  const int allowed = job.spec.max_attempts + (planted(Mutant::one_attempt_more) ? 1 : 0);
  if (last || job.status.attempts - job.status.attempts_base >= allowed) {
    core.apply(id, job, JobEvent::bury, now);
    return;
  }
  const Duration wait = delay.count() >= 0 ? std::min(delay, kDurationMax) : retry_delay(core, job);
  job.status.run_at = planted(Mutant::retry_at_once) ? now.utc : now.utc + wait;
  wait_again(core, id, job, JobEvent::retry, now);
}

void lose_lease(Core& core, JobId id, Job& job, Now now) {
  if (!job.started || planted(Mutant::crash_uncounted)) return give_back(core, id, job, now);
  count_crash(core, id, job, "crash: the worker was lost while it ran the job", ItemStatus::stale,
              now, [](const JobStatus& status) {
                return fmt::format("poison: lost its worker {} times", status.crashes);
              });
}

void on_started(Core& core, Session& session, const protocol::Started& started, Now now) {
  for (LeaseId lease : started.leases) {
    const auto found = session.leases.find(lease);
    if (found == session.leases.end()) continue;
    Job& job = *core.find_job(found->second);
    if (job.started) continue;
    job.started = true;
    job.started_at = now.mono;
    job.status.started_at = now.utc;
    core.start_writes.emplace(now.mono + kStartedWrittenAfter, found->second);
    if (job.spec.timeout.count() > 0)
      core.timeouts.emplace(now.mono + job.spec.timeout + kHeartbeat, found->second);
  }
}

template <class Verb>
void on_settle(Core& core, Session& session, Received command, Now now) {
  auto& items = std::get<Verb>(command.message).items;
  protocol::Settled settled;
  Parked parked;
  LoadJobs wanted;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const LeaseId lease = items[i].lease;
    settled.leases.push_back(lease);
    const auto [id, job] = open_lease(core, session, lease, items[i].job);
    const bool own = job != nullptr && (is_own(session, *job) || planted(Mutant::foreign_lease));
    if (own && core.space != Space::plenty && planted(Mutant::full_disk_drops)) {
      settled.statuses.push_back(ItemStatus::ok);
    } else if (own) {
      settle(core, id, *job, items[i], static_cast<Verb*>(nullptr), now);
      settled.statuses.push_back(ItemStatus::ok);
    } else if (const auto status = late_status(session, lease); status || job != nullptr) {
      settled.statuses.push_back(status.value_or(ItemStatus::stale));
    } else {
      parked.unknown.push_back(i);
      wanted.ids.push_back(items[i].job);
      settled.statuses.push_back(ItemStatus::stale);
    }
  }
  if (parked.unknown.empty())
    return core.reply(command.from, command.correlation, std::move(settled));
  // Leases of an earlier session or epoch: the job's row tells whether this outcome was recorded.
  wanted.ticket = ++core.last_ticket;
  parked.statuses = std::move(settled.statuses);
  parked.command = std::move(command);
  core.parked.emplace(wanted.ticket, std::move(parked));
  core.load(std::move(wanted));
}
template void on_settle<protocol::Ack>(Core&, Session&, Received, Now);
template void on_settle<protocol::Nack>(Core&, Session&, Received, Now);
template void on_settle<protocol::Reject>(Core&, Session&, Received, Now);
template void on_settle<protocol::Release>(Core&, Session&, Received, Now);

void on_loaded_settlement(Core& core, Parked parked, const LoadedJobs& loaded, Now) {
  const auto outcomes = [](auto& message) -> std::vector<protocol::Outcome>* {
    if constexpr (requires { message.items.front().elapsed; }) return &message.items;
    return nullptr;
  };
  const auto& items = *std::visit(outcomes, parked.command.message);
  for (std::size_t position : parked.unknown) {
    const protocol::Outcome& item = items[position];
    const auto record = std::find_if(loaded.jobs.begin(), loaded.jobs.end(),
                                     [&](const JobRecord& job) { return job.id == item.job; });
    if (record == loaded.jobs.end() || record->status.lease != item.lease) continue;
    const JobState state = record->status.state;
    if (state == JobState::cancelled) {
      parked.statuses[position] = ItemStatus::cancelled;
    } else if (is_final(state) || state == JobState::scheduled || is_crash(item, *record)) {
      parked.statuses[position] = ItemStatus::duplicate;
    }
  }
  protocol::Settled settled;
  for (const protocol::Outcome& item : items) settled.leases.push_back(item.lease);
  settled.statuses = std::move(parked.statuses);
  core.reply(parked.command.from, parked.command.correlation, std::move(settled));
}

void time_out_runs(Core& core, Now now) {
  while (!core.timeouts.empty() && core.timeouts.begin()->first <= now.mono) {
    const JobId id = core.timeouts.begin()->second;
    core.timeouts.erase(core.timeouts.begin());
    Job& job = *core.find_job(id);
    // The worker had a heartbeat's time to end the run itself.
    Session* const session = job.session;
    const LeaseId lease = job.status.lease;
    fail_attempt(core, id, job, "timeout",
                 fmt::format("timeout: ran longer than {} ms", job.spec.timeout.count()),
                 Duration{-1}, false, now);
    if (session == nullptr) continue;
    note_closed(*session, lease, ItemStatus::stale);
    core.reply(session->connection, 0,
               protocol::Cancel{.jobs = {}, .leases = {lease}, .reason = "timeout"});
  }
}

void write_starts(Core& core, Now now) {
  while (!core.start_writes.empty() && core.start_writes.begin()->first <= now.mono) {
    const JobId id = core.start_writes.begin()->second;
    core.start_writes.erase(core.start_writes.begin());
    core.touch(id, *core.find_job(id));
  }
}

void on_undelivered(Core& core, const Undelivered& undelivered, Now now) {
  const Reply& reply = undelivered.reply;
  if (const auto* jobs = std::get_if<protocol::Jobs>(&reply.message)) {
    for (const protocol::Delivery& item : jobs->items) {
      Job* const job = core.find_job(item.job);
      if (job != nullptr && is_leased(*job, item.lease)) give_back(core, item.job, *job, now);
    }
  }
  // The peer is gone, or reads too slowly to be kept: its next message is answered `no_session`,
  // and it says HELLO, tells what it holds and sends again what was never answered.
  const auto connection = core.connections.find(reply.to);
  if (connection == core.connections.end()) return;
  drop_waits(core, *connection->second, reply.to);
  connection->second->connection = {};
  core.connections.erase(connection);
}

}  // namespace millrace::broker

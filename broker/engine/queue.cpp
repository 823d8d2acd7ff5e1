// Queues: the sentinel and its generations, pause, and what `status` shows.

#include <fmt/format.h>

#include <algorithm>

#include "broker/engine/core.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;

bool good_name(Core& core, const Received& command, const std::string& name) {
  const std::uint64_t limit = core.options.limits.lanes_max;
  if (!is_name(name)) {
    core.refuse(command, ErrorCode::bad_request,
                fmt::format("queue `{:.80}` is no name: use 1 to 64 of a-z 0-9 . _ -", name));
  } else if (!core.queues.contains(name) && core.queues.size() >= limit) {
    core.refuse(command, ErrorCode::too_large,
                fmt::format("the broker knows {} queues, its limit is {} (lanes_max)",
                            core.queues.size(), limit));
  } else {
    return true;
  }
  return false;
}

void tell_drained(Core& core, Queue& queue) {
  protocol::Drained drained;
  drained.queues.push_back({queue.row.name, queue.row.generation});
  for (const auto& [session_id, generation] : std::exchange(queue.closers, {})) {
    const auto session = core.sessions.find(session_id);
    if (session == core.sessions.end()) continue;
    core.reply(session->second.connection, 0, drained);
    if (planted(Mutant::drained_twice)) core.reply(session->second.connection, 0, drained);
  }
  core.leave_checks = true;
}

bool all_drained(Core& core, const Session& session) {
  return std::all_of(
      session.offer.queues.begin(), session.offer.queues.end(),
      [&](const std::string& name) { return core.queue(name).row.state == QueueState::drained; });
}

bool nothing_ready(Core& core, const Session& session) {
  return std::all_of(
      session.offer.queues.begin(), session.offer.queues.end(), [&](const std::string& name) {
        return core.queue(name).counts[static_cast<std::size_t>(JobState::ready)] == 0;
      });
}

/// Leases of a queue that have not started are asked back; a pause then holds for them too.
void recall_waiting(Core& core, const Queue& queue) {
  for (Session* session : queue.workers) {
    protocol::Recall recall;
    for (const auto& [lease, id] : session->leases) {
      const Job& job = *core.find_job(id);
      if (!job.started && core.lane_of(job).queue == &queue) recall.leases.push_back(lease);
    }
    if (!recall.leases.empty()) core.reply(session->connection, 0, std::move(recall));
  }
}

protocol::WorkerInfo worker_info(const Session& session) {
  protocol::WorkerInfo info{.worker = session.row.id,
                            .name = session.row.name,
                            .host = session.row.host,
                            .pid = session.row.pid,
                            .queues = session.offer.queues,
                            .pools = session.offer.pools,
                            .leases = session.leases.size(),
                            .until = session.offer.until,
                            .connected_at = session.row.connected_at,
                            .seen_at = session.seen_at};
  return info;
}

}  // namespace

protocol::QueueInfo queue_info(const Queue& queue) {
  return {.queue = queue.row.name,
          .state = queue.row.state,
          .paused = queue.row.paused,
          .generation = queue.row.generation,
          .counts = queue.counts,
          .workers = queue.workers.size()};
}

void check_drained(Core& core, Queue& queue) {
  const std::uint64_t open = planted(Mutant::sentinel_overtakes)
                                 ? queue.counts[static_cast<std::size_t>(JobState::ready)]
                                 : queue.open_jobs();
  if (queue.row.state != QueueState::closed || queue.row.paused || open != 0) return;
  queue.row.state = QueueState::drained;
  core.touch(queue);
  tell_drained(core, queue);
}

void reopen_if_drained(Core& core, Queue& queue) {
  if (queue.row.state != QueueState::drained) return;
  queue.row.state = QueueState::open;
  ++queue.row.generation;
  core.touch(queue);
}

void on_close(Core& core, Session& session, Received& command, const protocol::Close& close, Now) {
  if (!good_name(core, command, close.queue)) return;
  Queue& queue = core.queue(close.queue);
  const bool current = close.generation == 0 || close.generation == queue.row.generation;
  // With a generation it only asks to be told: the queue may have been opened again meanwhile.
  if (close.generation == 0 && queue.row.state == QueueState::open) {
    queue.row.state = QueueState::closed;
    core.touch(queue);
    check_drained(core, queue);
  }
  core.reply(command.from, command.correlation, queue_info(queue));
  if (!close.wait) return;
  if (!current || queue.row.state == QueueState::drained) {
    const std::uint64_t generation = current ? queue.row.generation : close.generation;
    core.reply(command.from, 0, protocol::Drained{{{close.queue, generation}}, "drained"});
  } else if (queue.row.state == QueueState::closed) {
    const std::pair closer{session.id, queue.row.generation};
    if (std::find(queue.closers.begin(), queue.closers.end(), closer) == queue.closers.end())
      queue.closers.push_back(closer);
  }
}

void on_open(Core& core, Received& command, const protocol::Open& open) {
  if (!good_name(core, command, open.queue)) return;
  Queue& queue = core.queue(open.queue);
  reopen_if_drained(core, queue);
  if (queue.row.state == QueueState::closed) {
    queue.row.state = QueueState::open;
    core.touch(queue);
  }
  core.reply(command.from, command.correlation, queue_info(queue));
}

void on_pause(Core& core, Received& command, const std::string& name, bool paused) {
  if (!good_name(core, command, name)) return;
  Queue& queue = core.queue(name);
  if (queue.row.paused != paused) {
    queue.row.paused = paused;
    core.touch(queue);
    if (paused) recall_waiting(core, queue);
    core.dispatch_wanted = true;
    check_drained(core, queue);
  }
  core.reply(command.from, command.correlation, queue_info(queue));
}

void send_workers_home(Core& core) {
  if (!std::exchange(core.leave_checks, false)) return;
  for (auto& [id, session] : core.sessions) {
    if (session.offer.queues.empty() || session.told_to_leave || session.resuming) continue;
    const bool drained =
        session.offer.until == protocol::Until::drained && all_drained(core, session);
    const bool empty = session.offer.until == protocol::Until::empty && session.leases.empty() &&
                       nothing_ready(core, session);
    if (!drained && !empty) continue;
    session.told_to_leave = true;
    protocol::Drained message{{}, drained ? "drained" : "empty"};
    for (const std::string& name : session.offer.queues)
      message.queues.push_back({name, core.queue(name).row.generation});
    core.reply(session.connection, 0, std::move(message));
  }
}

void on_stats(Core& core, Received& command, const protocol::Stats& stats, Now now) {
  if (!stats.queue.empty() && !core.queues.contains(stats.queue))
    return core.refuse(command, ErrorCode::not_found,
                       fmt::format("there is no queue `{:.80}`", stats.queue));
  protocol::Report report{.broker = core.options.version,
                          .epoch = core.epoch,
                          .started_at = core.started_at,
                          .now = now.utc,
                          .storage_full = core.space != Space::plenty,
                          .producers = 0,
                          .jobs_in_memory = core.jobs.size(),
                          .queues = {},
                          .workers = {}};
  for (const auto& [name, queue] : core.queues)
    if (stats.queue.empty() || stats.queue == name) report.queues.push_back(queue_info(queue));
  for (const auto& [id, session] : core.sessions) {
    if (session.role == protocol::Role::producer) {
      ++report.producers;
    } else if (!session.offer.queues.empty()) {
      report.workers.push_back(worker_info(session));
    }
  }
  core.reply(command.from, command.correlation, std::move(report));
}

}  // namespace millrace::broker

// Which job goes to which worker, when.

#include <algorithm>
#include <limits>

#include "broker/engine/core.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;

constexpr std::size_t kJobsMessageBytes = 1 * kMiB;
constexpr std::size_t kJobsMessageItems = 1000;

bool may_take(const Core& core, const Session& session, const Pool& pool) {
  return session.connection && !session.resuming && !session.told_to_leave &&
         pool.delivered < pool.upto &&
         session.leases.size() < core.options.limits.leases_per_worker_max;
}

/// Workers of the lane's queue that have its kind. When there are workers and none has it, all of
/// them with their first pool: one will answer `unknown_kind`, so that nothing hangs.
void find_takers(Core& core, Lane& lane) {
  if (lane.offers_seen == core.offers) return;
  lane.offers_seen = core.offers;
  lane.takers.clear();
  for (Session* session : lane.queue->workers) {
    const auto kind = session->offer.kinds.find(lane.kind);
    if (kind != session->offer.kinds.end())
      lane.takers.emplace_back(session, &session->pools.at(kind->second));
  }
  if (!lane.takers.empty()) return;
  for (Session* session : lane.queue->workers)
    lane.takers.emplace_back(session, &session->pools.at(session->offer.pools.begin()->first));
}

/// The one with the most free slots; with all slots taken, the one with the shortest backlog.
std::pair<Session*, Pool*> freest_taker(Core& core, Lane& lane) {
  find_takers(core, lane);
  std::pair<Session*, Pool*> best{};
  auto best_free = std::numeric_limits<std::int64_t>::min();
  for (const auto& [session, pool] : lane.takers) {
    if (!may_take(core, *session, *pool)) continue;
    const auto free =
        static_cast<std::int64_t>(pool->slots) - static_cast<std::int64_t>(pool->leased);
    if (free > best_free) {
      best = {session, pool};
      best_free = free;
    }
  }
  return best;
}

protocol::Delivery delivery(const Lane& lane, JobId id, const Job& job) {
  return {.number = job.delivery,
          .lease = job.status.lease,
          .job = id,
          .kind = lane.kind,
          .queue = lane.queue->row.name,
          .payload = job.payload,
          .attempt = job.status.attempts + 1,
          .max_attempts = job.spec.max_attempts,
          .deliveries = job.status.deliveries,
          .timeout = job.spec.timeout,
          .batch = job.spec.batch};
}

void lease(Core& core, Lane& lane, JobId id, Job& job, Session& session, Pool& pool, Now now) {
  core.apply(id, job, JobEvent::lease, now);
  const std::uint64_t epoch = planted(Mutant::lease_restarts) ? 1 : core.epoch;
  job.status.lease = LeaseId{epoch << 40 | ++core.lease_counter};
  job.status.worker = session.row.id;
  job.status.started_at = {};
  ++job.status.deliveries;
  job.session = &session;
  job.pool = &pool;
  job.delivery = ++pool.delivered;
  job.leased_at = now.mono;
  job.started = false;
  job.outputs = 0;
  job.output_bytes = 0;
  ++pool.leased;
  session.leases.emplace(job.status.lease, id);
  session.leases_hash ^= protocol::lease_hash(job.status.lease);
  pool.outgoing.push_back(delivery(lane, id, job));
  if (job.payload.empty() && job.payload_bytes != 0) core.effects.payloads.push_back(id);
}

/// Hands out the most urgent job of the queue that some worker can take now, or ends it when it has
/// waited too long.
bool dispatch_one(Core& core, Queue& queue, Now now) {
  Lane* best = nullptr;
  std::pair<Session*, Pool*> taker{};
  std::optional<ReadyKey> coming;  // the next jobs of a lane that is being loaded are beyond this
  for (LaneId lane_id : queue.lanes) {
    Lane& lane = core.lane(lane_id);
    if (lane.counts[static_cast<std::size_t>(JobState::ready)] == 0) continue;
    if (best != nullptr && !lane.ready.items.empty() &&
        *best->ready.items.begin() < *lane.ready.items.begin())
      continue;
    const auto candidate = freest_taker(core, lane);
    if (candidate.first == nullptr) continue;
    load_lane_if_low(core, lane);
    if (lane.ready.items.empty()) {
      if (lane.ready.loading)
        coming = std::min(coming.value_or(lane.ready.frontier), lane.ready.frontier);
      continue;
    }
    best = &lane;
    taker = candidate;
  }
  if (best == nullptr || (coming && *coming < *best->ready.items.begin())) return false;
  const JobId id = best->ready.items.begin()->id;
  Job& job = *core.find_job(id);
  if (is_past(core, job, now) && !planted(Mutant::expired_delivered)) {
    expire(core, id, job, now);
  } else {
    lease(core, *best, id, job, *taker.first, *taker.second, now);
  }
  return true;
}

bool has_work(const Queue& queue) {
  return !queue.row.paused && !queue.workers.empty() &&
         queue.counts[static_cast<std::size_t>(JobState::ready)] != 0;
}

void send_pool(Core& core, Session& session, Pool& pool) {
  std::size_t bytes = 0;
  protocol::Jobs message{pool.name, {}};
  message.items.reserve(std::min<std::size_t>(pool.outgoing.size(), kJobsMessageItems));
  for (protocol::Delivery& item : pool.outgoing) {
    const std::size_t size =
        item.payload.empty() ? core.find_job(item.job)->payload_bytes : item.payload.size();
    if (!message.items.empty() &&
        (bytes + size > kJobsMessageBytes || message.items.size() >= kJobsMessageItems)) {
      core.reply(session.connection, 0, std::exchange(message, {pool.name, {}}));
      bytes = 0;
    }
    bytes += size;
    message.items.push_back(std::move(item));
  }
  pool.outgoing.clear();
  core.reply(session.connection, 0, std::move(message));
}

}  // namespace

void dispatch(Core& core, Now now) {
  if (!core.dispatch_wanted || core.space == Space::critical) return;
  core.dispatch_wanted = false;
  std::vector<Queue*> active;
  for (auto& [name, queue] : core.queues)
    if (has_work(queue)) active.push_back(&queue);
  // One job of each queue in turn, so that a long queue does not hold up a short one; the turn goes
  // on next time where it stopped.
  const auto first = std::find_if(active.begin(), active.end(), [&](const Queue* queue) {
    return queue->row.name > core.dispatch_cursor;
  });
  std::rotate(active.begin(), first, active.end());
  while (!active.empty()) {
    for (Queue*& queue : active) {
      if (dispatch_one(core, *queue, now)) {
        core.dispatch_cursor = queue->row.name;
      } else {
        queue = nullptr;
      }
    }
    std::erase(active, nullptr);
  }
}

void send_deliveries(Core& core) {
  for (auto& [id, session] : core.sessions)
    for (auto& [name, pool] : session.pools)
      if (!pool.outgoing.empty()) send_pool(core, session, pool);
}

}  // namespace millrace::broker

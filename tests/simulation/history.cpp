#include "tests/simulation/history.h"

#include <algorithm>

#include "tests/simulation/sim_broker.h"

namespace millrace::simulation {

using protocol::ItemStatus;

// ---- producers ---------------------------------------------------------------------------------

void History::request_sent(const protocol::Enqueue& enqueue) {
  const auto [entry, fresh] = requests.try_emplace(enqueue.request);
  if (fresh) entry->second = {enqueue.queue, enqueue.jobs, {}, world_.now().mono, {}, {}};
}

void History::request_sent(const protocol::Replay& replay) {
  const auto [entry, fresh] = requests.try_emplace(replay.request);
  if (fresh) entry->second = {{}, {}, replay.jobs, world_.now().mono, {}, {}};
}

bool History::may_forget_requests() const {
  return !broker_deaths.empty() && world_.utc_max() - world_.utc_min() > kRequestKeptFor;
}

void History::answered(RequestId id, const protocol::Enqueued& answer) {
  RequestSeen& request = requests.at(id);
  if (request.answer) {
    if (may_forget_requests()) return;
    require(request.answer->first == answer.first && request.answer->count == answer.count &&
                request.answer->batch == answer.batch,
            "request {} was answered with job {} and then with job {}", id.counter,
            request.answer->first.value, answer.first.value);
    return;
  }
  request.answer = answer;
  request.answered_at = world_.now().mono;
  const bool replay = !request.origins.empty();
  require(replay || answer.count == request.jobs.size(), "request {} of {} jobs made {}",
          id.counter, request.jobs.size(), answer.count);
  for (std::uint64_t i = 0; i < answer.count; ++i) {
    const JobId job{answer.first.value + i};
    JobSeen seen{.request = id,
                 .queue = request.queue,
                 .spec = {},
                 .replayed = replay,
                 .sent_at = request.sent_at,
                 .acked_at = world_.now().mono,
                 .leases = {},
                 .cancelled = {}};
    if (replay) {
      seen.queue = jobs.at(answer.replay_of.at(i)).queue;
      seen.spec = jobs.at(answer.replay_of.at(i)).spec;
      seen.spec.delay = {};
      seen.spec.run_at = {};
    } else {
      seen.spec = request.jobs[i];
    }
    require(jobs.emplace(job, std::move(seen)).second, "job {} was given to two requests",
            job.value);
    job_ids.push_back(job);
  }
  // Deliveries may have come before the acknowledgement.
  for (auto at = leases.begin(); at != leases.end(); ++at)
    if (const auto found = jobs.find(at->second.job); found != jobs.end())
      found->second.leases.insert(at->first);
}

void History::cancelled(const protocol::Outcomes& outcomes, Stamp stamp) {
  for (std::size_t i = 0; i < outcomes.jobs.size(); ++i)
    if (outcomes.statuses.at(i) == ItemStatus::ok) jobs.at(outcomes.jobs[i]).cancelled = stamp;
}

void History::redriven(const protocol::Outcomes& outcomes) {
  for (std::size_t i = 0; i < outcomes.jobs.size(); ++i)
    if (outcomes.statuses.at(i) == ItemStatus::ok) ++jobs.at(outcomes.jobs[i]).redriven;
}

// ---- the sentinel ------------------------------------------------------------------------------

/// Whoever was acknowledged before the broker said so has ended.
void History::check_drained(const std::string& queue, Stamp stamp) {
  for (const JobId id : open_) {
    const auto found = jobs.find(id);
    if (found == jobs.end() || found->second.queue != queue) continue;
    const JobSeen& job = found->second;
    if (job.acked_at >= stamp.sent_at || job.redrives_sent != 0) continue;
    throw Violation(
        fmt::format("queue {} was called drained while job {} was open", queue, id.value));
  }
}

void History::drained(const protocol::Drained& drained, Stamp stamp) {
  for (const protocol::QueueGeneration& entry : drained.queues) {
    const std::uint64_t told = ++drains_[entry.queue];
    require(told <= closes_[entry.queue], "queue {} was told as drained {} times for {} CLOSE",
            entry.queue, told, closes_[entry.queue]);
    check_drained(entry.queue, stamp);
  }
}

void History::sent_home(const protocol::Drained& drained, Stamp stamp) {
  if (drained.reason != "drained") return;
  for (const protocol::QueueGeneration& entry : drained.queues) check_drained(entry.queue, stamp);
}

// ---- workers -----------------------------------------------------------------------------------

void History::delivered(std::uint64_t life, const protocol::Delivery& delivery, Stamp stamp) {
  const auto [entry, fresh] = leases.try_emplace(delivery.lease);
  LeaseSeen& lease = entry->second;
  require(fresh || lease.life == life, "lease {} was given to two workers", delivery.lease.value);
  if (!fresh) return;
  lease = {.job = delivery.job,
           .life = life,
           .broker_life = world_.broker().lives(),
           .attempt = delivery.attempt,
           .deliveries = delivery.deliveries,
           .timeout = delivery.timeout,
           .stamp = stamp,
           .received_at = world_.now().mono,
           .started_at = {},
           .timed_out_at = {},
           .outcomes = {},
           .settled = {}};
  const auto job = jobs.find(delivery.job);
  if (job != jobs.end()) job->second.leases.insert(delivery.lease);
}

void History::started(LeaseId lease) {
  const auto found = leases.find(lease);
  if (found != leases.end() && !found->second.started_at)
    found->second.started_at = world_.now().mono;
}

void History::outcome_sent(std::uint64_t life, Verb verb, const protocol::Outcome& outcome) {
  const auto found = leases.find(outcome.lease);
  if (found == leases.end() || found->second.life != life) return;
  if (found->second.outcomes.empty()) found->second.first_outcome_at = world_.now().mono;
  found->second.outcomes.emplace_back(verb, outcome);
}

void History::settled(std::uint64_t life, Verb verb, const std::vector<protocol::Outcome>& items,
                      const protocol::Settled& settled, Stamp stamp) {
  require(settled.statuses.size() == items.size(), "SETTLED of {} items for {}",
          settled.statuses.size(), items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (settled.statuses[i] != ItemStatus::ok) continue;
    const auto found = leases.find(items[i].lease);
    require(found != leases.end() && found->second.life == life,
            "the outcome of lease {} was taken from a worker that never held it",
            items[i].lease.value);
    LeaseSeen& lease = found->second;
    require(!lease.settled, "two outcomes of lease {} were taken", items[i].lease.value);
    lease.settled = verb;
    lease.settled_stamp = stamp;
  }
}

void History::timed_out(LeaseId lease) {
  const auto found = leases.find(lease);
  if (found != leases.end()) found->second.timed_out_at = world_.now().mono;
}

void History::died_running(const std::vector<LeaseId>& running, std::uint64_t peer) {
  for (const LeaseId lease : running) deaths.push_back({lease, peer, world_.now().mono});
}

bool History::broker_lived(Instant from, Instant to) const {
  return std::none_of(broker_deaths.begin(), broker_deaths.end(),
                      [&](Instant death) { return death >= from && death <= to; });
}

void History::disturb(std::uint64_t peer) { disturbed_.insert(peer); }

// ---- the store ---------------------------------------------------------------------------------

void History::note_state(JobId job, JobState state) {
  if (is_final(state)) {
    open_.erase(job);
    ended_.insert(job);
  } else {
    open_.insert(job);
  }
}

void History::committed(const broker::WriteBatch& writes) {
  for (const broker::JobInsert& job : writes.inserts) note_state(job.id, job.status.state);
  for (const broker::JobUpdate& job : writes.updates) note_state(job.id, job.status.state);
  if (world_.config().request.store == StoreKind::memory)
    audit_.note(writes, world_.broker().rows());
}

void History::restarted(const broker::MemoryState& rows, std::uint64_t epoch) {
  require(epoch > last_epoch_, "epoch {} after epoch {}", epoch, last_epoch_);
  last_epoch_ = epoch;
  audit_.restart(rows);
  audit_.check(rows, !world_.config().faults.has(Fault::retention));
  open_.clear();
  for (const auto& [id, job] : rows.jobs) note_state(id, job.record.status.state);
  for (const JobId id : job_ids)
    require(rows.jobs.contains(id) || has_ended(id), "job {} was acknowledged and is lost",
            id.value);
}

}  // namespace millrace::simulation

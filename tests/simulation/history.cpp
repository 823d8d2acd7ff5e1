#include "tests/simulation/history.h"

#include <algorithm>

#include "tests/simulation/sim_broker.h"

namespace millrace::simulation {

using protocol::ItemStatus;

// ---- producers ---------------------------------------------------------------------------------

void History::request_sent(const protocol::Enqueue& enqueue) {
  const auto [entry, fresh] = requests.try_emplace(enqueue.request);
  if (!fresh) return;
  JobId parent;
  if (enqueue.lease) parent = leases.at(enqueue.lease).job;
  entry->second = {enqueue.queue, enqueue.jobs, {}, false, world_.now().mono, {}, {}, parent};
}

void History::request_sent(const protocol::Replay& replay) {
  const auto [entry, fresh] = requests.try_emplace(replay.request);
  if (fresh) entry->second = {{}, {}, replay.jobs, replay.force, world_.now().mono, {}, {}, {}};
}

bool History::may_forget_requests() const {
  return !broker_deaths.empty() && world_.utc_max() - world_.utc_min() > kRequestKeptFor;
}

void History::answered(RequestId id, const protocol::Enqueued& answer) {
  RequestSeen& request = requests.at(id);
  if (request.answer) {
    if (may_forget_requests()) return;
    require(request.answer->first == answer.first && request.answer->count == answer.count &&
                request.answer->batch == answer.batch && request.answer->ids == answer.ids,
            "request {} was answered with job {} and then with job {}", id.counter,
            request.answer->first.value, answer.first.value);
    return;
  }
  request.answer = answer;
  request.answered_at = world_.now().mono;
  if (request.parent) check_child(request.parent, answer);
  JobId next = answer.first;
  const JobId end{answer.first.value + answer.count};
  if (!request.origins.empty()) {
    for (const JobId origin : answer.replay_of) {
      const JobSeen& replayed = jobs.at(origin);
      protocol::NewJob spec = replayed.spec;
      spec.delay = spec.expires_in = {};
      spec.run_at = spec.expires_at = {};
      spec.unique_key.clear();
      spec.unique_scope = UniqueScope::active;
      check_replayed(request, spec);
      answered_new(
          id, {replayed.queue, {}, request.origins, request.force, request.sent_at, {}, {}, {}},
          spec, next);
      ++next.value;
    }
  } else {
    require(answer.ids.empty() || answer.ids.size() == request.jobs.size(),
            "request {} of {} jobs was answered with {} ids", id.counter, request.jobs.size(),
            answer.ids.size());
    for (std::size_t i = 0; i < request.jobs.size(); ++i) {
      const JobId job = answer.ids.empty() ? next : answer.ids[i];
      if (job == next && next < end) {
        answered_new(id, request, request.jobs[i], next);
        ++next.value;
      } else {
        check_existing(request, request.jobs[i], job);
      }
    }
  }
  require(next == end, "request {} made {} jobs, which its answer does not name", id.counter,
          answer.count);
  // Deliveries may have come before the acknowledgement.
  for (auto at = leases.begin(); at != leases.end(); ++at)
    if (const auto found = jobs.find(at->second.job); found != jobs.end())
      found->second.leases.insert(at->first);
}

/// It joins the batch of the job that has enqueued it.
void History::check_child(JobId parent, const protocol::Enqueued& answer) const {
  const Decisions::Fate* fate = decisions.find(parent);
  require(fate != nullptr, "job {} enqueues others and was never stored", parent.value);
  require(answer.count == 0 || answer.batch == fate->spec.batch,
          "jobs of job {} are in batch {}, it is in batch {}", parent.value, answer.batch.value,
          fate->spec.batch.value);
}

void History::answered_new(RequestId id, const RequestSeen& request, const protocol::NewJob& spec,
                           JobId job) {
  JobSeen seen{.request = id,
               .queue = request.queue,
               .spec = spec,
               .replayed = !request.origins.empty(),
               .sent_at = request.sent_at,
               .acked_at = world_.now().mono,
               .leases = {},
               .cancelled = {}};
  require(jobs.emplace(job, std::move(seen)).second, "job {} was given to two requests", job.value);
  job_ids.push_back(job);
}

/// The job that has the key was there between the request and its answer.
void History::check_existing(const RequestSeen& request, const protocol::NewJob& spec,
                             JobId job) const {
  const Decisions::Fate* fate = decisions.find(job);
  require(!spec.unique_key.empty() && spec.on_conflict == OnConflict::existing,
          "job {} is named as one that is there, which was not asked for", job.value);
  require(
      fate != nullptr && fate->queue == request.queue && fate->spec.unique_key == spec.unique_key,
      "job {} is named as the one with key `{}`, which it has not", job.value, spec.unique_key);
  if (fate->spec.unique_scope == UniqueScope::ttl) return;
  // One that was redriven may have been open between two commits.
  const auto seen = jobs.find(job);
  if (seen != jobs.end() && seen->second.redrives_sent != 0) return;
  require(!fate->ended_at || *fate->ended_at >= request.sent_at,
          "job {} is named as the one with key `{}`, but it had ended before", job.value,
          spec.unique_key);
}

void History::check_replayed(const RequestSeen& request, const protocol::NewJob& spec) const {
  const auto since = decisions.not_replayable_since(spec.kind);
  require(request.force || !since || *since >= request.sent_at,
          "a job of kind {} was replayed, which its workers had forbidden", spec.kind);
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
    const auto found = leases.find(items[i].lease);
    if (found != leases.end() && found->second.life == life) found->second.answered = true;
    if (settled.statuses[i] != ItemStatus::ok) continue;
    require(found != leases.end() && found->second.life == life,
            "the outcome of lease {} was taken from a worker that never held it",
            items[i].lease.value);
    LeaseSeen& lease = found->second;
    require(!lease.settled, "two outcomes of lease {} were taken", items[i].lease.value);
    lease.settled = verb;
    lease.crashed = verb == Verb::nack && items[i].crashed;
    lease.waited = std::any_of(settled.statuses.begin(), settled.statuses.end(),
                               [](ItemStatus status) { return status != ItemStatus::ok; });
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

void History::output_sent(std::uint64_t life, const protocol::OutputItem& item) {
  const auto found = leases.find(item.lease);
  if (found != leases.end() && found->second.life == life) outputs.sent(item);
}

void History::output_settled(std::uint64_t life, const std::vector<protocol::OutputItem>& items,
                             const protocol::Settled& settled) {
  require(settled.statuses.size() == items.size(), "SETTLED of {} items for {}",
          settled.statuses.size(), items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto found = leases.find(items[i].lease);
    outputs.settled(items[i], settled.statuses[i],
                    found != leases.end() && found->second.life == life);
  }
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
  decisions.committed(writes, world_.now());
  if (world_.config().request.store == StoreKind::memory)
    audit_.note(writes, world_.broker().rows());
}

void History::restarted(const broker::MemoryState& rows, std::uint64_t epoch) {
  decisions.begin_life(world_.now());
  decisions.restarted(rows, world_.now());
  audit_.restart(rows);
  audit_.check(rows, !world_.config().faults.has(Fault::retention));
  open_.clear();
  for (const auto& [id, job] : rows.jobs) note_state(id, job.record.status.state);
  for (const JobId id : job_ids)
    require(rows.jobs.contains(id) || has_ended(id), "job {} was acknowledged and is lost",
            id.value);
  require(epoch > last_epoch_, "epoch {} after epoch {}", epoch, last_epoch_);
  last_epoch_ = epoch;
}

}  // namespace millrace::simulation

// Jobs come in: ENQUEUE, its limits, and the answer to a repeated request.

#include <fmt/format.h>

#include "broker/engine/children.h"
#include "broker/engine/core.h"
#include "common/util/hash.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;
using protocol::Enqueue;
using protocol::NewJob;

constexpr std::size_t kRequestsKept = 64;  // in memory, per producer; more than it has in flight

/// Of what later versions added: nothing while it holds its defaults, so that a request that was
/// remembered before is still known.
std::uint64_t hash_options(const NewJob& job, std::uint64_t hash) {
  const std::int64_t numbers[] = {job.crashes_max, job.expires_in.count(),
                                  job.expires_at.time_since_epoch().count()};
  if (numbers[0] != 0 || numbers[1] != 0 || numbers[2] != 0)
    hash = hash64({reinterpret_cast<const char*>(numbers), sizeof numbers}, hash);
  if (!job.retry.empty()) hash = hash64(job.retry, hash + 1);
  if (job.unique_key.empty()) return hash;
  const std::int64_t unique[] = {static_cast<std::int64_t>(job.unique_scope),
                                 job.unique_ttl.count(),
                                 static_cast<std::int64_t>(job.on_conflict)};
  return hash64(job.unique_key,
                hash64({reinterpret_cast<const char*>(unique), sizeof unique}, hash + 2));
}

std::uint64_t body_hash(const Enqueue& enqueue) {
  std::uint64_t hash = hash64(enqueue.queue, enqueue.batch.value * 2 + (enqueue.seal ? 1 : 0));
  if (enqueue.lease)
    hash = hash64({reinterpret_cast<const char*>(&enqueue.lease.value), sizeof(LeaseId)}, hash + 3);
  for (const NewJob& job : enqueue.jobs) {
    // An older broker hashed the default, which stood for what is now left to the kind.
    const int attempts = job.max_attempts == 0 ? kMaxAttemptsDefault : job.max_attempts;
    const std::int64_t numbers[] = {job.priority,
                                    attempts,
                                    job.delay.count(),
                                    job.run_at.time_since_epoch().count(),
                                    job.timeout.count(),
                                    job.backoff.count(),
                                    static_cast<std::int64_t>(job.payload.form)};
    hash = hash64({reinterpret_cast<const char*>(numbers), sizeof numbers}, hash);
    hash = hash_options(job, hash64(job.payload.bytes, hash64(job.kind, hash)));
  }
  return hash;
}

Job make_job(Core& core, Queue& queue, NewJob& from, BatchId batch, Now now) {
  const auto or_else = [](auto own, auto of_kind, auto standard) {
    return own != decltype(own){} ? own : of_kind != decltype(own){} ? of_kind : standard;
  };
  const protocol::KindOptions& kind = kind_options(core, from.kind);
  Job job;
  job.spec = {.lane = core.lane_for(queue, from.kind),
              .priority = from.priority,
              .batch = batch,
              .replay_of = {},
              .max_attempts = or_else(from.max_attempts, kind.max_attempts, kMaxAttemptsDefault),
              .timeout = or_else(from.timeout, kind.timeout, Duration{}),
              .backoff = from.backoff,
              .absolute = from.run_at != Time{},
              .enqueued_at = now.utc,
              .crashes_max = or_else(from.crashes_max, kind.crashes_max, kCrashesMaxDefault),
              .retry = from.backoff.count() != 0 || !from.retry.empty() ? from.retry : kind.retry,
              .expires_at = from.expires_in.count() != 0 ? core.steady(now) + from.expires_in
                                                         : from.expires_at,
              .unique_key = from.unique_key,
              .unique_scope = from.unique_scope};
  job.status.run_at = job.spec.absolute ? from.run_at : now.utc + from.delay;
  job.status.state = job.status.run_at > now.utc ? JobState::scheduled : JobState::ready;
  job.payload_bytes = from.payload.size();
  job.payload = std::move(from.payload);
  return job;
}

/// Ends the job whose key the new one takes over; once.
void replace(Core& core, UniqueStep& step, JobId by, Now now) {
  if (!step.replaces || step.replaced) return;
  step.replaced = cancel_job(core, step.replaces, fmt::format("replaced: by job {}", by.value),
                             now) == protocol::ItemStatus::ok;
}

/// Makes one new job of the request, and ends the one whose unique key it takes over.
void make_one(Core& core, JobId id, Queue& queue, NewJob& from, BatchId batch, UniqueStep& step,
              Now now) {
  replace(core, step, id, now);  // one that this very request has made
  Job job = make_job(core, queue, from, batch, now);
  if (!from.unique_key.empty()) {
    // A job that was replaced has given its key back; only a row with an end in time is still
    // there.
    if (step.replaces && step.row && step.row->until == Time{}) step.row.reset();
    take_key(core, id, from, job, std::move(step.row), now);
  }
  Job& created = core.create(id, std::move(job), now);
  arm_expiry(core, created, now);
}

/// The batch that the request's new jobs join or begin, of which they are `count`.
BatchId batch_for(Core& core, const Received& command, const Enqueue& enqueue, const Job* parent,
                  JobId first, std::uint64_t count, Now now) {
  if (planted(Mutant::child_alone)) parent = nullptr;
  if (count == 0 && !enqueue.batch) return {};
  // A job enqueued alone is its own batch and needs no row.
  if (parent == nullptr && !enqueue.batch && enqueue.seal && count == 1)
    return BatchId{first.value};
  Batch& batch = parent != nullptr ? batch_of_parent(core, *parent)
                                   : batch_for_new_jobs(core, enqueue.batch, first, command.session,
                                                        enqueue.seal, now);
  batch.row.total += count;
  batch_changed(core, batch);
  return batch.row.id;
}

/// Everything is checked: the jobs are made, and the request remembered and answered.
void carry_out(Core& core, const Received& command, Enqueue& enqueue, const Job* parent,
               UniquePlan plan, std::uint64_t hash, Now now) {
  const JobId first = next_job_ids(core, plan.count);
  const BatchId batch_id = batch_for(core, command, enqueue, parent, first, plan.count, now);
  Queue* const queue = plan.count != 0 ? &core.queue(enqueue.queue) : nullptr;
  if (queue != nullptr) reopen_if_drained(core, *queue);
  protocol::Enqueued answer{batch_id, plan.count != 0 ? first : JobId{}, plan.count, {}, {}};
  // Jobs that were there end first: new ones may push them out of memory.
  JobId next = first;
  for (UniqueStep& step : plan.steps) {
    if (step.replaces < first) replace(core, step, next, now);
    if (!step.existing) ++next.value;
  }
  next = first;
  for (std::size_t i = 0; i < enqueue.jobs.size(); ++i) {
    UniqueStep& step = plan.steps[i];
    if (plan.has_existing) answer.ids.push_back(step.existing ? step.existing : next);
    if (step.existing) continue;
    make_one(core, next, *queue, enqueue.jobs[i], batch_id, step, now);
    ++next.value;
  }
  remember_request(core, {.id = enqueue.request,
                          .body_hash = hash,
                          .batch = batch_id,
                          .first = answer.first,
                          .count = plan.count,
                          .replay_of = {},
                          .ids = answer.ids,
                          .at = now.utc});
  core.reply(command.from, command.correlation, std::move(answer));
}

/// What stands against the request just now, or else its jobs. `hash` is that of its body.
void accept(Core& core, const Received& command, Enqueue& enqueue, const UniqueLooked& looked,
            std::uint64_t hash, Now now) {
  const Job* parent = enqueue.lease ? find_parent(core, command.session, enqueue.lease) : nullptr;
  if (enqueue.lease && parent == nullptr)
    return core.refuse(command, ErrorCode::lease_lost,
                       fmt::format("lease {} is over, or another worker's: its run can enqueue no "
                                   "more jobs",
                                   enqueue.lease.value));
  auto error = check_batch(core, enqueue.batch);
  if (!error) error = check_room(core, enqueue, parent);
  if (!error) error = check_lanes(core, enqueue);
  if (error) return core.refuse(command, error->code, error->message, error->after);
  auto plan = plan_unique(core, enqueue, looked, JobId{core.last_job.value + 1}, now);
  if (!plan)
    return core.refuse(command, plan.error().code, plan.error().message, plan.error().after);
  carry_out(core, command, enqueue, parent, std::move(*plan), hash, now);
}

}  // namespace

JobId next_job_ids(Core& core, std::size_t count) {
  const JobId first{core.last_job.value + 1};
  core.last_job.value += count;
  core.marks_dirty = true;
  return first;
}

Batch& batch_for_new_jobs(Core& core, BatchId wanted, JobId first, const SessionId& sender,
                          bool seal, Now now) {
  const BatchId id = wanted ? wanted : BatchId{first.value};
  const auto [entry, inserted] = core.batches.try_emplace(id);
  Batch& batch = entry->second;
  if (inserted) {
    batch.row.id = id;
    batch.row.created_at = now.utc;
  }
  // The sender may have lost its connection while its command waited, but not yet its session.
  batch.row.owner = seal || !core.sessions.contains(sender) ? SessionId{} : sender;
  batch.row.sealed = seal;
  core.touch(batch);
  return batch;
}

bool recorded_request(Core& core, const Received& command, RequestId id, std::uint64_t hash) {
  const RequestLog& log = core.requests[id.prefix];
  const auto recent = log.recent.find(id.counter);
  if (recent == log.recent.end()) return false;
  const RequestRow& row = recent->second;
  if (row.body_hash != hash) {
    core.refuse(command, ErrorCode::conflict,
                fmt::format("request {} was used before for another body", id.counter));
  } else {
    // Behind the commit that may still be under way.
    core.reply(command.from, command.correlation,
               protocol::Enqueued{row.batch, row.first, row.count, row.ids, row.replay_of});
  }
  return true;
}

bool known_request(Core& core, Received& command, RequestId id, std::uint64_t hash, Now now) {
  const auto [entry, inserted] = core.requests.try_emplace(id.prefix);
  RequestLog& log = entry->second;
  log.used_at = now.mono;
  if (recorded_request(core, command, id, hash)) return true;
  const bool is_new =
      (!inserted && (id.counter > log.counter_max || log.absent.contains(id.counter))) ||
      planted(Mutant::request_forgotten);
  if (!log.loading && is_new) return false;
  if (!log.loading) {
    log.loading = true;
    core.load(LoadRequest{id});
  }
  log.parked.push_back(std::move(command));
  return true;
}

void remember_request(Core& core, RequestRow row) {
  RequestLog& log = core.requests[row.id.prefix];
  log.counter_max = std::max(log.counter_max, row.id.counter);
  log.absent.erase(row.id.counter);
  core.effects.writes.requests.push_back(row);
  log.recent.insert_or_assign(row.id.counter, std::move(row));
  while (log.recent.size() > kRequestsKept) log.recent.erase(log.recent.begin());
}

void on_loaded_request(Core& core, LoadedRequest loaded, Now now) {
  RequestLog& log = core.requests[loaded.id.prefix];
  log.loading = false;
  log.counter_max = std::max(log.counter_max, loaded.counter_max);
  if (loaded.row) {
    log.recent.insert_or_assign(loaded.id.counter, std::move(*loaded.row));
  } else {
    if (log.absent.size() == kRequestsKept) log.absent.clear();  // costs a look-up, no more
    log.absent.insert(loaded.id.counter);
  }
  for (Received& command : std::exchange(log.parked, {})) {
    if (std::holds_alternative<Enqueue>(command.message)) {
      on_enqueue(core, std::move(command), now);
    } else {
      on_replay(core, std::move(command), now);
    }
  }
  while (log.recent.size() > kRequestsKept) log.recent.erase(log.recent.begin());
}

/// A batch that ended before it was sealed may have left memory while its producer was away. True:
/// the command waits until the store has told.
bool park_for_batch(Core& core, Received& command, BatchId batch) {
  if (!batch || core.batches.contains(batch) || core.absent_batch == batch) return false;
  auto& parked = core.batch_parked[batch];
  if (parked.empty()) core.load(LoadBatch{batch});
  parked.push_back(std::move(command));
  return true;
}

void on_enqueue(Core& core, Received command, Now now) {
  auto& enqueue = std::get<Enqueue>(command.message);
  const RequestId request = enqueue.request;
  if (request.prefix == 0 || request.counter == 0)
    return core.refuse(command, ErrorCode::bad_request, "`request` is missing");
  // What was acknowledged once is acknowledged again, whatever the limits and queues are like now.
  const std::uint64_t hash = body_hash(enqueue);
  if (known_request(core, command, request, hash, now)) return;
  if (park_for_batch(core, command, enqueue.batch)) return;
  if (auto error = check_request(enqueue, core.options.limits))
    return core.refuse(command, error->code, error->message, error->after);
  if (has_unique_keys(enqueue)) {
    // Only now is it known that there is no such batch; afterwards it would be looked for again.
    if (auto error = check_batch(core, enqueue.batch))
      return core.refuse(command, error->code, error->message, error->after);
    return park_for_unique(core, std::move(command));
  }
  accept(core, command, enqueue, {}, hash, now);
}

void enqueue_unique(Core& core, Received command, const UniqueLooked& looked, Now now) {
  auto& enqueue = std::get<Enqueue>(command.message);
  const std::uint64_t hash = body_hash(enqueue);
  // While it waited a resend may have been answered, and its batch may have left memory.
  if (recorded_request(core, command, enqueue.request, hash)) return;
  if (park_for_batch(core, command, enqueue.batch)) return;
  accept(core, command, enqueue, looked, hash, now);
}

}  // namespace millrace::broker

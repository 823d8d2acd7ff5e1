// Jobs come in: ENQUEUE, its limits, and the answer to a repeated request.

#include <fmt/format.h>

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

std::uint64_t body_hash(const Enqueue& enqueue) {
  std::uint64_t hash = hash64(enqueue.queue, enqueue.batch.value * 2 + (enqueue.seal ? 1 : 0));
  for (const NewJob& job : enqueue.jobs) {
    const std::int64_t numbers[] = {job.priority,
                                    job.max_attempts,
                                    job.delay.count(),
                                    job.run_at.time_since_epoch().count(),
                                    job.timeout.count(),
                                    job.backoff.count(),
                                    static_cast<std::int64_t>(job.payload.form)};
    hash = hash64({reinterpret_cast<const char*>(numbers), sizeof numbers}, hash);
    hash = hash64(job.payload.bytes, hash64(job.kind, hash));
  }
  return hash;
}

std::optional<Error> check_times(const NewJob& job) {
  const auto bad = [](std::string text) {
    return Error{ErrorCode::bad_request, std::move(text), {}};
  };
  if (job.delay.count() < 0 || job.delay > kDurationMax)
    return bad(fmt::format("delay_ms {} is not in 0 to {} (10 years)", job.delay.count(),
                           kDurationMax.count()));
  if (job.delay.count() != 0 && job.run_at != Time{})
    return bad("a job has either a delay or a time to run at");
  const Duration run_at = job.run_at.time_since_epoch();
  if (run_at.count() < 0 || run_at > 20 * kDurationMax)
    return bad(fmt::format("run_at {} is not a time of this or the next century", run_at.count()));
  if (job.timeout.count() < 0 || job.timeout > kDurationMax)
    return bad(fmt::format("timeout_ms {} is not in 0 (none) to {} (10 years)", job.timeout.count(),
                           kDurationMax.count()));
  if (job.backoff.count() < 0 || job.backoff > kBackoffMax)
    return bad(fmt::format("backoff_ms {} is not in 0 to {} (5 minutes)", job.backoff.count(),
                           kBackoffMax.count()));
  return std::nullopt;
}

std::optional<Error> check_job(const NewJob& job, const Limits& limits) {
  if (!is_name(job.kind))
    return Error{ErrorCode::bad_request,
                 fmt::format("kind `{:.80}` is no name: use 1 to 64 of a-z 0-9 . _ -", job.kind),
                 {}};
  if (job.payload.size() > limits.payload_bytes_max)
    return Error{ErrorCode::too_large,
                 fmt::format("a payload of {} bytes is over the limit of {} (payload_bytes_max)",
                             job.payload.size(), limits.payload_bytes_max),
                 {}};
  if (job.priority < kPriorityMin || job.priority > kPriorityMax)
    return Error{ErrorCode::bad_request,
                 fmt::format("priority {} is not in 0 (most urgent) to 255", job.priority),
                 {}};
  if (job.max_attempts < 1 || job.max_attempts > kMaxAttemptsMax)
    return Error{
        ErrorCode::bad_request,
        fmt::format("max_attempts {} is not in 1 to {}", job.max_attempts, kMaxAttemptsMax),
        {}};
  if (!job.unique_key.empty())
    return Error{ErrorCode::bad_request, "unique keys are not available in this version", {}};
  return check_times(job);
}

/// What is wrong with the request itself, whatever the queue's state.
std::optional<Error> check_request(const Enqueue& enqueue, const Limits& limits) {
  if (!is_name(enqueue.queue))
    return Error{
        ErrorCode::bad_request,
        fmt::format("queue `{:.80}` is no name: use 1 to 64 of a-z 0-9 . _ -", enqueue.queue),
        {}};
  if (enqueue.jobs.empty() && !(enqueue.seal && enqueue.batch))
    return Error{ErrorCode::bad_request, "no jobs, and no batch to seal", {}};
  if (enqueue.jobs.size() > limits.enqueue_jobs_max)
    return Error{ErrorCode::too_large,
                 fmt::format("{} jobs in one request are over the limit of {} (enqueue_jobs_max)",
                             enqueue.jobs.size(), limits.enqueue_jobs_max),
                 {}};
  std::size_t bytes = 0;
  for (const NewJob& job : enqueue.jobs) {
    if (auto error = check_job(job, limits)) return error;
    bytes += job.payload.size();
  }
  // One job of the largest payload is always allowed.
  if (bytes > limits.enqueue_bytes_max && enqueue.jobs.size() > 1)
    return Error{ErrorCode::too_large,
                 fmt::format("{} bytes of payloads in one request are over the limit of {} "
                             "(enqueue_bytes_max)",
                             bytes, limits.enqueue_bytes_max),
                 {}};
  return std::nullopt;
}

/// What stands against it just now.
std::optional<Error> check_room(Core& core, const Enqueue& enqueue) {
  const Limits& limits = core.options.limits;
  if (enqueue.batch) {
    const auto batch = core.batches.find(enqueue.batch);
    if (batch == core.batches.end() || batch->second.row.sealed)
      return Error{ErrorCode::bad_request,
                   fmt::format("batch {} is sealed or unknown", enqueue.batch.value),
                   {}};
  }
  if (enqueue.jobs.empty()) return std::nullopt;
  if (core.space != Space::plenty)
    return Error{ErrorCode::storage_full,
                 "the broker's disk is nearly full (--min-free): free space, then send again",
                 Duration{1000}};
  const auto queue = core.queues.find(enqueue.queue);
  if (queue == core.queues.end()) return std::nullopt;
  if (queue->second.row.state == QueueState::closed)
    return Error{ErrorCode::queue_closed,
                 fmt::format("queue `{}` is closed (generation {}): wait until it is drained, or "
                             "`millrace-producer open {}`",
                             enqueue.queue, queue->second.row.generation, enqueue.queue),
                 {}};
  if (queue->second.open_jobs() + enqueue.jobs.size() > limits.queue_jobs_max)
    return Error{ErrorCode::queue_full,
                 fmt::format("queue `{}` holds {} jobs, its limit is {} (queue_jobs_max)",
                             enqueue.queue, queue->second.open_jobs(), limits.queue_jobs_max),
                 Duration{1000}};
  return std::nullopt;
}

std::optional<Error> check_lanes(const Core& core, const Enqueue& enqueue) {
  if (core.lanes.size() + enqueue.jobs.size() <= core.options.limits.lanes_max) return std::nullopt;
  std::set<std::string_view> unknown;
  for (const NewJob& job : enqueue.jobs)
    if (!core.lane_ids.contains({enqueue.queue, job.kind})) unknown.insert(job.kind);
  if (core.lanes.size() + unknown.size() <= core.options.limits.lanes_max) return std::nullopt;
  return Error{
      ErrorCode::too_large,
      fmt::format("the broker knows {} pairs of queue and kind, its limit is {} (lanes_max)",
                  core.lanes.size(), core.options.limits.lanes_max),
      {}};
}

Job make_job(Core& core, const std::string& queue, NewJob& from, BatchId batch, Now now) {
  Job job;
  job.spec = {.lane = core.lane_for(queue, from.kind),
              .priority = from.priority,
              .batch = batch,
              .replay_of = {},
              .max_attempts = from.max_attempts,
              .timeout = from.timeout,
              .backoff = from.backoff,
              .absolute = from.run_at != Time{},
              .enqueued_at = now.utc};
  job.status.run_at = job.spec.absolute ? from.run_at : now.utc + from.delay;
  job.status.state = job.status.run_at > now.utc ? JobState::scheduled : JobState::ready;
  job.payload_bytes = from.payload.size();
  job.payload = std::move(from.payload);
  return job;
}

}  // namespace

JobId next_job_ids(Core& core, std::size_t count) {
  const JobId first{core.last_job.value + 1};
  core.last_job.value += count;
  core.marks_dirty = true;
  return first;
}

Batch& batch_for_new_jobs(Core& core, BatchId wanted, JobId first, const SessionId& owner,
                          bool seal, Now now) {
  const BatchId id = wanted ? wanted : BatchId{first.value};
  const auto [entry, inserted] = core.batches.try_emplace(id);
  Batch& batch = entry->second;
  if (inserted) {
    batch.row.id = id;
    batch.row.created_at = now.utc;
  }
  batch.row.owner = seal ? SessionId{} : owner;
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
               protocol::Enqueued{row.batch, row.first, row.count, row.replay_of});
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
  auto error = check_request(enqueue, core.options.limits);
  if (!error) error = check_room(core, enqueue);
  if (!error) error = check_lanes(core, enqueue);
  if (error) return core.refuse(command, error->code, error->message, error->after);

  const auto connection = core.connections.find(command.from);
  const SessionId owner = connection == core.connections.end() ? "" : connection->second->id;
  const std::size_t count = enqueue.jobs.size();
  const JobId first = next_job_ids(core, count);
  const BatchId batch_id = enqueue.batch ? enqueue.batch : BatchId{first.value};
  // A job enqueued alone is its own batch and needs no row.
  if (enqueue.batch || !enqueue.seal || count != 1) {
    Batch& batch = batch_for_new_jobs(core, enqueue.batch, first, owner, enqueue.seal, now);
    batch.row.total += count;
    batch_changed(core, batch);
  }
  if (count != 0) reopen_if_drained(core, core.queue(enqueue.queue));
  for (std::size_t i = 0; i < count; ++i)
    core.create(JobId{first.value + i},
                make_job(core, enqueue.queue, enqueue.jobs[i], batch_id, now), now);
  const protocol::Enqueued answer{batch_id, count != 0 ? first : JobId{}, count, {}};
  remember_request(core, {request, hash, batch_id, answer.first, count, {}, now.utc});
  core.reply(command.from, command.correlation, answer);
}

}  // namespace millrace::broker

// What an ENQUEUE must be like, and what may stand against it just now.

#include <fmt/format.h>

#include "broker/engine/children.h"

namespace millrace::broker {
namespace {

using protocol::Enqueue;
using protocol::NewJob;

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
  if (job.expires_in.count() < 0 || job.expires_in > kDurationMax)
    return bad(fmt::format("expires_in_ms {} is not in 0 (never) to {} (10 years)",
                           job.expires_in.count(), kDurationMax.count()));
  if (job.expires_in.count() != 0 && job.expires_at != Time{})
    return bad("a job has either a time to live or a time to expire at");
  const Duration expires_at = job.expires_at.time_since_epoch();
  if (expires_at.count() < 0 || expires_at > 20 * kDurationMax)
    return bad(
        fmt::format("expires_at {} is not a time of this or the next century", expires_at.count()));
  return std::nullopt;
}

std::optional<Error> check_retries(const NewJob& job) {
  const auto bad = [](std::string text) {
    return Error{ErrorCode::bad_request, std::move(text), {}};
  };
  if (job.max_attempts < 0 || job.max_attempts > kMaxAttemptsMax)
    return bad(fmt::format("max_attempts {} is not in 1 to {}, or 0 for its kind's",
                           job.max_attempts, kMaxAttemptsMax));
  if (job.crashes_max < 0 || job.crashes_max > kMaxAttemptsMax)
    return bad(fmt::format("crashes_max {} is not in 1 to {}, or 0 for its kind's", job.crashes_max,
                           kMaxAttemptsMax));
  if (!job.retry.empty() && job.backoff.count() != 0)
    return bad("a job has either a retry policy or a backoff");
  if (auto wrong = check_retry(job.retry)) return bad(std::move(*wrong));
  return std::nullopt;
}

std::optional<Error> check_unique(const NewJob& job) {
  const auto bad = [](std::string text) {
    return Error{ErrorCode::bad_request, std::move(text), {}};
  };
  const bool ttl = job.unique_scope == UniqueScope::ttl;
  if (job.unique_key.size() > kUniqueKeyBytesMax)
    return bad(fmt::format("a unique key of {} bytes is over the limit of {}",
                           job.unique_key.size(), kUniqueKeyBytesMax));
  if (job.unique_key.empty() && (ttl || job.unique_ttl.count() != 0))
    return bad("a unique scope or ttl without a unique key");
  if (ttl ? job.unique_ttl.count() < 1 || job.unique_ttl > kDurationMax
          : job.unique_ttl.count() != 0)
    return bad(
        fmt::format("unique_ttl_ms {} is not in 1 to {} (10 years) with the scope `ttl`, "
                    "or 0 with another",
                    job.unique_ttl.count(), kDurationMax.count()));
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
  if (auto error = check_retries(job)) return error;
  if (auto error = check_unique(job)) return error;
  return check_times(job);
}

}  // namespace

std::optional<Error> check_request(const Enqueue& enqueue, const Limits& limits) {
  if (!is_name(enqueue.queue))
    return Error{
        ErrorCode::bad_request,
        fmt::format("queue `{:.80}` is no name: use 1 to 64 of a-z 0-9 . _ -", enqueue.queue),
        {}};
  if (enqueue.lease && (enqueue.batch || enqueue.seal))
    return Error{ErrorCode::bad_request,
                 "jobs that a running job enqueues join its batch: no `batch`, no `seal`",
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

std::optional<Error> check_batch(const Core& core, BatchId id) {
  if (!id) return std::nullopt;
  const auto batch = core.batches.find(id);
  if (batch != core.batches.end() && !batch->second.row.sealed) return std::nullopt;
  return Error{ErrorCode::bad_request, fmt::format("batch {} is sealed or unknown", id.value), {}};
}

std::optional<Error> check_room(Core& core, const Enqueue& enqueue, const Job* parent) {
  const Limits& limits = core.options.limits;
  if (enqueue.jobs.empty()) return std::nullopt;
  if (core.space != Space::plenty)
    return Error{ErrorCode::storage_full,
                 "the broker's disk is nearly full (--min-free): free space, then send again",
                 Duration{1000}};
  const auto queue = core.queues.find(enqueue.queue);
  if (queue == core.queues.end()) return std::nullopt;
  if (queue->second.row.state == QueueState::closed && !is_own_queue(core, parent, enqueue.queue))
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
  const auto queue = core.queues.find(enqueue.queue);
  std::set<std::string_view> unknown;
  for (const NewJob& job : enqueue.jobs)
    if (queue == core.queues.end() || !queue->second.lanes_by_kind.contains(job.kind))
      unknown.insert(job.kind);
  if (core.lanes.size() + unknown.size() <= core.options.limits.lanes_max) return std::nullopt;
  return Error{
      ErrorCode::too_large,
      fmt::format("the broker knows {} pairs of queue and kind, its limit is {} (lanes_max)",
                  core.lanes.size(), core.options.limits.lanes_max),
      {}};
}

}  // namespace millrace::broker

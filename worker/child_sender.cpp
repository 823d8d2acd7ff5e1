#include "worker/child_sender.h"

#include <algorithm>

namespace millrace::worker {
namespace {

std::size_t size_of(const protocol::NewJob& job) {
  // More than the keys and numbers of any job need on the wire.
  constexpr std::size_t kJobBytes = 320;
  return kJobBytes + job.payload.size() + job.kind.size() + job.retry.size() +
         job.unique_key.size();
}

/// The broker cannot take it just now, but will.
bool is_passing(const protocol::ErrorReply& error) {
  const ErrorCode code = error_code(error.code);
  return error.retryable && code != ErrorCode::queue_closed && code != ErrorCode::unique_conflict;
}

}  // namespace

void ChildSender::connected(const protocol::Welcome& welcome) {
  const Limits standard;
  jobs_max_ = std::min<std::size_t>(
      welcome.enqueue_jobs_max > 0 ? welcome.enqueue_jobs_max : standard.enqueue_jobs_max,
      kArrayItemsMax);
  bytes_max_ =
      welcome.enqueue_bytes_max > 0 ? welcome.enqueue_bytes_max : standard.enqueue_bytes_max;
}

void ChildSender::take_new() {
  for (ChildJobs::Call& call : children_.take()) {
    Sending sending;
    sending.call = std::move(call);
    calls_.push_back(std::move(sending));
  }
}

/// The next message of the call.
void ChildSender::fill(Sending& sending) {
  std::vector<protocol::NewJob>& jobs = sending.call.jobs;
  sending.message = {.request = {children_.prefix(), ++counter_},
                     .queue = sending.call.queue,
                     .batch = {},
                     .seal = false,
                     .jobs = {},
                     .lease = sending.call.lease};
  std::size_t bytes = 0;
  while (sending.taken < jobs.size() && sending.message.jobs.size() < jobs_max_) {
    bytes += size_of(jobs[sending.taken]);
    if (bytes > bytes_max_ && !sending.message.jobs.empty()) break;
    sending.message.jobs.push_back(std::move(jobs[sending.taken++]));
  }
}

void ChildSender::turn(Instant now) {
  take_new();
  for (auto at = calls_.begin(); at != calls_.end();) {
    if (at->correlation != 0) {
      ++at;
    } else if (at->call.stop.stop_requested()) {
      at = close(at, fail(ErrorCode::stopping, "the run was asked to stop"));
    } else if (at->message.jobs.empty() && at->taken == at->call.jobs.size()) {
      at = close(at, std::move(at->ids));
    } else if (now < at->send_at) {
      ++at;
    } else {
      if (at->message.jobs.empty()) fill(*at);
      at->correlation = link_.request(at->message);
      ++at;
    }
  }
}

bool ChildSender::answered(std::uint64_t correlation, const protocol::Message& reply, Instant now) {
  const auto at = std::find_if(calls_.begin(), calls_.end(), [&](const Sending& sending) {
    return correlation != 0 && sending.correlation == correlation;
  });
  if (at == calls_.end()) return false;
  at->correlation = 0;
  if (const auto* error = std::get_if<protocol::ErrorReply>(&reply)) {
    if (is_passing(*error))
      at->send_at = now + std::max(error->after, kSendAgainAfter);
    else
      close(at, tl::make_unexpected(protocol::to_error(*error)));
    return true;
  }
  const auto* answer = std::get_if<protocol::Enqueued>(&reply);
  if (answer == nullptr) {
    close(at, fail(ErrorCode::internal, "the broker answered ENQUEUE with something else"));
    return true;
  }
  const std::size_t count = at->message.jobs.size();
  for (std::size_t i = 0; i < count; ++i)
    at->ids.push_back(i < answer->ids.size() ? answer->ids[i] : JobId{answer->first.value + i});
  at->message.jobs.clear();
  return true;
}

ChildSender::Calls::iterator ChildSender::close(Calls::iterator at, ChildJobs::Answer answer) {
  const LeaseId lease = at->call.lease;
  const ChildJobs::Callback callback = std::move(at->call.callback);
  const auto next = calls_.erase(at);
  // First, so that what it enqueues in its turn keeps the outcome waiting.
  callback(std::move(answer));
  children_.close(lease);
  closed_.push_back(lease);
  return next;
}

void ChildSender::discard(LeaseId lease) {
  take_new();
  for (auto at = calls_.begin(); at != calls_.end();) {
    if (at->call.lease != lease) {
      ++at;
      continue;
    }
    if (at->correlation != 0) link_.forget(at->correlation);
    at = close(at, fail(ErrorCode::lease_lost, "the run does not hold its job any more"));
  }
}

std::optional<Instant> ChildSender::next_due() const {
  std::optional<Instant> next;
  for (const Sending& sending : calls_)
    if (sending.correlation == 0 && (!next || sending.send_at < *next)) next = sending.send_at;
  return next;
}

}  // namespace millrace::worker

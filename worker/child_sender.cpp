#include "worker/child_sender.h"

#include <algorithm>

#include "common/util/instrument.h"

namespace millrace::worker {
namespace {

std::size_t size_of(const protocol::NewJob& job) {
  // More than the keys and numbers of any job need on the wire.
  constexpr std::size_t kJobBytes = 320;
  return kJobBytes + job.payload.size() + job.kind.size() + job.retry.size() +
         job.unique_key.size();
}

/// The broker cannot take it just now, but will. For room in a queue a run must not wait: it holds
/// the slot that might make some, and when all do that nothing moves any more.
bool is_passing(const protocol::ErrorReply& error) {
  const ErrorCode code = error_code(error.code);
  return error.retryable && code != ErrorCode::queue_closed && code != ErrorCode::unique_conflict &&
         code != ErrorCode::queue_full;
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
    waiting_.push_back(std::move(sending));
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
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const bool stopped = at->call.stop.stop_requested();
    if (!at->is_complete() && !stopped && now < at->send_at) {
      ++at;
      continue;
    }
    Sending sending = std::move(*at);
    at = waiting_.erase(at);
    if (sending.is_complete()) {
      std::vector<JobId> ids = std::move(sending.ids);
      close(sending, std::move(ids));
    } else if (stopped) {
      close(sending, fail(ErrorCode::stopping, "the run was asked to stop"));
    } else {
      if (sending.message.jobs.empty()) fill(sending);
      instrument::crash_point("worker.before_child_enqueue");
      const std::uint64_t correlation = link_.request(sending.message);
      sent_.emplace(correlation, std::move(sending));
      instrument::crash_point("worker.after_child_enqueue_sent");
    }
  }
}

bool ChildSender::answered(std::uint64_t correlation, const protocol::Message& reply, Instant now) {
  auto node = sent_.extract(correlation);
  if (node.empty()) return false;
  Sending& sending = node.mapped();
  const auto* error = std::get_if<protocol::ErrorReply>(&reply);
  if (error != nullptr && is_passing(*error)) {
    sending.send_at = now + std::max(error->after, kSendAgainAfter);
    waiting_.push_back(std::move(sending));
  } else if (error != nullptr) {
    close(sending, tl::make_unexpected(protocol::to_error(*error)));
  } else if (const auto* answer = std::get_if<protocol::Enqueued>(&reply)) {
    instrument::crash_point("worker.after_child_enqueued");
    for (std::size_t i = 0; i < sending.message.jobs.size(); ++i)
      sending.ids.push_back(i < answer->ids.size() ? answer->ids[i]
                                                   : JobId{answer->first.value + i});
    sending.message.jobs.clear();
    sending.send_at = {};
    waiting_.push_back(std::move(sending));  // the next turn goes on with it
  } else {
    close(sending, fail(ErrorCode::internal, "the broker answered ENQUEUE with something else"));
  }
  return true;
}

void ChildSender::close(const Sending& sending, ChildJobs::Answer answer) {
  // First, so that what it enqueues in its turn keeps the outcome waiting.
  sending.call.callback(std::move(answer));
  children_.close(sending.call.lease);
  closed_.push_back(sending.call.lease);
}

void ChildSender::discard(LeaseId lease) {
  take_new();
  std::vector<Sending> lost;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (at->call.lease != lease) {
      ++at;
      continue;
    }
    lost.push_back(std::move(*at));
    at = waiting_.erase(at);
  }
  for (auto at = sent_.begin(); at != sent_.end();) {
    if (at->second.call.lease != lease) {
      ++at;
      continue;
    }
    link_.forget(at->first);
    lost.push_back(std::move(at->second));
    at = sent_.erase(at);
  }
  for (const Sending& sending : lost)
    close(sending, fail(ErrorCode::lease_lost, "the run does not hold its job any more"));
}

std::optional<Instant> ChildSender::next_due() const {
  std::optional<Instant> next;
  for (const Sending& sending : waiting_)
    if (!next || sending.send_at < *next) next = sending.send_at;
  return next;
}

}  // namespace millrace::worker

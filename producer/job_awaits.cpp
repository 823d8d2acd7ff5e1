#include "producer/job_awaits.h"

namespace millrace::producer {

bool JobAwaits::add(JobId job) {
  if (!known_.insert(job).second) return false;
  waiting_.push_back({job, {}});
  return true;
}

void JobAwaits::send_due(Client& client, Instant now) {
  while (!waiting_.empty() && under_way_.size() < kUnderWayMax) {
    if (waiting_.front().again_at > now) return;
    const JobId job = waiting_.front().job;
    waiting_.pop_front();
    under_way_.emplace(client.send(protocol::Await{job}), job);
  }
}

std::optional<JobAwaits::Answer> JobAwaits::take(net::Replied& reply, Instant now) {
  const auto found = under_way_.find(reply.correlation);
  if (found == under_way_.end()) return std::nullopt;
  const JobId job = found->second;
  under_way_.erase(found);
  if (const auto* error = std::get_if<protocol::ErrorReply>(&reply.message)) {
    if (const auto delay = retry_delay(*error)) {
      waiting_.push_back({job, now + *delay});
      return std::nullopt;
    }
    return Answer{job, tl::make_unexpected(to_error(*error))};
  }
  auto* results = std::get_if<protocol::Results>(&reply.message);
  if (results == nullptr || results->rows.empty())
    return Answer{job, fail(ErrorCode::internal, "the broker answered AWAIT with no result")};
  return Answer{job, std::move(results->rows.front())};
}

}  // namespace millrace::producer

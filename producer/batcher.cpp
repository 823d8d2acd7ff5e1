#include "producer/batcher.h"

#include <algorithm>

namespace millrace::producer {

std::size_t Batcher::cost(const protocol::NewJob& job) {
  // More than the keys and numbers of any job need on the wire.
  constexpr std::size_t kOverhead = 320;
  return job.payload.size() + job.kind.size() + job.retry.size() + job.unique_key.size() +
         kOverhead;
}

bool Batcher::fits(const protocol::NewJob& job) const {
  return jobs_.empty() || (jobs_.size() < jobs_max_ && bytes_ + cost(job) <= bytes_max_);
}

void Batcher::add(protocol::NewJob job, Instant now) {
  bytes_ += cost(job);
  added_at_ = now;
  jobs_.push_back(std::move(job));
}

Duration Batcher::patience(Instant now) const {
  return std::max(Duration{0}, added_at_ + kIdleFlush - now);
}

std::vector<protocol::NewJob> Batcher::take() {
  bytes_ = 0;
  return std::exchange(jobs_, {});
}

bool RequestWindow::can_send(bool seal) const {
  if (requests_.empty()) return true;
  if (!batch_known_ || seal) return false;
  // Counted from the oldest, so that one request that is refused for long bounds what overtakes it.
  return next_sequence_ - requests_.begin()->first < kRequestsMax;
}

std::uint64_t RequestWindow::add(Request request) {
  requests_.emplace(next_sequence_, std::move(request));
  return next_sequence_++;
}

RequestWindow::Request* RequestWindow::find(std::uint64_t correlation, std::uint64_t& sequence) {
  for (auto& [number, request] : requests_) {
    if (request.correlation != correlation) continue;
    sequence = number;
    return &request;
  }
  return nullptr;
}

void RequestWindow::acknowledge(std::uint64_t sequence, bool batch_known) {
  requests_.erase(sequence);
  batch_known_ = batch_known_ || batch_known;
}

std::vector<RequestWindow::Request*> RequestWindow::due(Instant now) {
  std::vector<Request*> found;
  for (auto& [sequence, request] : requests_)
    if (request.correlation == 0 && request.again_at <= now) found.push_back(&request);
  return found;
}

}  // namespace millrace::producer

#include "worker/run_context.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <stdexcept>

namespace millrace {

bool JobContext::wait(Duration duration) const {
  std::mutex mutex;
  std::condition_variable_any condition;
  std::unique_lock lock(mutex);
  condition.wait_for(lock, stop_, duration, [] { return false; });
  return !cancelled();
}

}  // namespace millrace

namespace millrace::worker {

std::vector<JobId> RunContext::put_jobs(std::vector<JobRequest>&& jobs, const std::string& queue) {
  if (jobs.empty()) return {};
  ChildJobs::Answer answer = children_.enqueue(job(), stop_token(), std::move(jobs), queue);
  if (!answer)
    throw std::runtime_error(
        fmt::format("{}: {}", to_string(answer.error().code), answer.error().message));
  return std::move(*answer);
}

}  // namespace millrace::worker

#include "worker/child_jobs.h"

#include <memory>
#include <optional>
#include <utility>

#include "common/protocol/job_request.h"

namespace millrace::worker {
namespace {

struct Waiting {
  Mutex mutex;
  Condition changed;
  std::optional<ChildJobs::Answer> answer MR_GUARDED_BY(mutex);
};

}  // namespace

ChildJobs::Answer ChildJobs::enqueue(const Job& parent, const std::stop_token& stop,
                                     std::vector<JobRequest> jobs, const std::string& queue) {
  // Shared, because the answer may come when the one who asked has gone.
  const auto waiting = std::make_shared<Waiting>();
  enqueue(parent, stop, std::move(jobs), queue, [waiting](Answer answer) {
    Lock lock(waiting->mutex);
    waiting->answer = std::move(answer);
    waiting->changed.notify_all();
  });
  // Made and ended without the mutex: both may wait for a call that runs.
  const std::stop_callback wake(stop, [&] {
    Lock lock(waiting->mutex);
    waiting->changed.notify_all();
  });
  Lock lock(waiting->mutex);
  while (!waiting->answer && !stop.stop_requested()) waiting->changed.wait(waiting->mutex);
  if (waiting->answer) return std::move(*waiting->answer);
  return fail(ErrorCode::stopping, "the run was asked to stop while it waited for the broker");
}

void ChildJobs::enqueue(const Job& parent, std::stop_token stop, std::vector<JobRequest> jobs,
                        const std::string& queue, Callback callback) {
  Call call{.lease = parent.lease,
            .queue = queue.empty() ? parent.queue : queue,
            .jobs = {},
            .stop = std::move(stop),
            .callback = std::move(callback)};
  call.jobs.reserve(jobs.size());
  for (JobRequest& job : jobs) call.jobs.push_back(protocol::to_new_job(std::move(job)));
  {
    Lock lock(mutex_);
    ++open_[call.lease];
    calls_.push_back(std::move(call));
  }
  wakeup_.notify();
}

std::vector<ChildJobs::Call> ChildJobs::take() {
  std::vector<Call> taken;
  Lock lock(mutex_);
  taken.swap(calls_);
  return taken;
}

void ChildJobs::close(LeaseId lease) {
  Lock lock(mutex_);
  const auto found = open_.find(lease);
  if (found != open_.end() && --found->second == 0) open_.erase(found);
}

bool ChildJobs::has_open(LeaseId lease) {
  Lock lock(mutex_);
  return open_.contains(lease);
}

}  // namespace millrace::worker

#include "worker/process/process_executor.h"

#include <chrono>
#include <latch>
#include <utility>

#include "worker/process/child_pool.h"
#include "worker/process/once_pool.h"

namespace millrace::worker {
namespace {

/// Jobs for each child: beyond those in its pipe, so that it never waits for the agent.
constexpr std::size_t kDepthMax = 64;
constexpr Duration kStopLook{5};

std::unique_ptr<ProcessPool> make_pool(ProcessHost& host, const ProcessSpec& spec,
                                       CompletionQueue& completions, OutputBuffer& outputs,
                                       ChildJobs& children) {
  if (spec.once) return std::make_unique<OncePool>(host, spec, completions);
  return std::make_unique<ChildPool>(host, spec, completions, outputs, children);
}

}  // namespace

ProcessExecutor::ProcessExecutor(ProcessHost& host, const ProcessSpec& spec,
                                 CompletionQueue& completions, OutputBuffer& outputs,
                                 ChildJobs& children)
    : host_(host),
      slots_(spec.size),
      depth_max_(spec.once ? 1 : kDepthMax),
      pool_(make_pool(host, spec, completions, outputs, children)) {
  host_.post([pool = pool_.get()] { pool->begin(); });
}

ProcessExecutor::~ProcessExecutor() {
  run_there([this] {
    pool_->close();
    pool_.reset();
  });
}

void ProcessExecutor::start(std::vector<Job> jobs) {
  host_.post(
      [pool = pool_.get(), jobs = std::move(jobs)]() mutable { pool->add(std::move(jobs)); });
}

void ProcessExecutor::cancel(LeaseId lease, StopReason reason) {
  host_.post([pool = pool_.get(), lease, reason] { pool->cancel(lease, reason); });
}

void ProcessExecutor::run_there(const std::function<void()>& work) {
  std::latch done(1);
  host_.post([&] {
    work();
    done.count_down();
  });
  done.wait();
}

bool ProcessExecutor::stop(Duration patience) {
  run_there([this] { pool_->close(); });
  const auto deadline = std::chrono::steady_clock::now() + patience;
  std::size_t left = 1;
  while (left > 0 && std::chrono::steady_clock::now() < deadline) {
    run_there([&] { left = pool_->runs(); });
    if (left > 0) std::this_thread::sleep_for(kStopLook);
  }
  return true;
}

}  // namespace millrace::worker

#include "worker/process/process_executor.h"

#include <future>
#include <latch>
#include <memory>
#include <utility>

#include "worker/process/child_pool.h"
#include "worker/process/once_pool.h"

namespace millrace::worker {
namespace {

/// Jobs for each child: beyond those in its pipe, so that it never waits for the agent.
constexpr std::size_t kDepthMax = 64;

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
  // Shared: it may come after the patience is over.
  const auto empty = std::make_shared<std::promise<void>>();
  run_there([this, empty] {
    pool_->close();
    pool_->when_empty([empty] { empty->set_value(); });
  });
  empty->get_future().wait_for(patience);
  return true;
}

}  // namespace millrace::worker

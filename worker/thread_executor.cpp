#include "worker/thread_executor.h"

#include <fmt/format.h>

#include <exception>
#include <utility>

#include "common/assert.h"
#include "common/util/instrument.h"
#include "common/util/thread.h"
#include "worker/run_context.h"

namespace millrace::worker {

ThreadExecutor::ThreadExecutor(const std::string& pool, std::size_t threads,
                               const Registry& registry, CompletionQueue& completions,
                               OutputBuffer& outputs, ChildJobs& children)
    : slots_(threads),
      registry_(registry),
      completions_(completions),
      outputs_(outputs),
      children_(children) {
  try {
    for (std::size_t i = 1; i <= threads; ++i) {
      {
        Lock lock(mutex_);
        ++alive_;
      }
      threads_.emplace_back([this, name = fmt::format("mr-{}-{}", pool, i)] {
        name_thread(name.c_str());
        serve();
      });
    }
  } catch (...) {
    close();  // else those that did start would be joined for ever
    throw;
  }
}

ThreadExecutor::~ThreadExecutor() { close(); }

void ThreadExecutor::start(std::vector<Job> jobs) {
  Lock lock(mutex_);
  for (Job& job : jobs) {
    const bool inserted = runs_.try_emplace(job.lease).second;
    MR_ASSERT(inserted && runs_.size() <= slots_ * depth_max(), "{} runs, {} slots", runs_.size(),
              slots_);
    waiting_.push_back(std::move(job));
  }
  wake_one_if_idle();
}

/// One thread is woken and, when it finds more than its own job, wakes the next. Short jobs are
/// then run by the few threads that are awake, without a wake-up each.
void ThreadExecutor::wake_one_if_idle() {
  if (waiting_.empty() || idle_ == 0 || waking_) return;
  waking_ = true;
  work_.notify_one();
}

void ThreadExecutor::look_after() {
  Lock lock(mutex_);
  if (waiting_.size() > std::exchange(taken_, 0)) wake_one_if_idle();
}

void ThreadExecutor::cancel(LeaseId lease, StopReason reason) {
  std::stop_source source(std::nostopstate);
  {
    Lock lock(mutex_);
    const auto found = runs_.find(lease);
    if (found == runs_.end()) return;
    if (found->second.reason == StopReason::none) found->second.reason = reason;
    source = found->second.source;
  }
  source.request_stop();  // runs callbacks of the handler: not under our lock
}

bool ThreadExecutor::stop(Duration patience) {
  close();
  const auto deadline = std::chrono::steady_clock::now() + patience;
  Lock lock(mutex_);
  while (alive_ > 0) {
    const auto left = std::chrono::ceil<Duration>(deadline - std::chrono::steady_clock::now());
    if (left <= Duration{0}) return false;
    ended_.wait_for(mutex_, left);
  }
  return true;
}

void ThreadExecutor::close() {
  std::vector<std::stop_source> sources;
  {
    Lock lock(mutex_);
    closed_ = true;
    for (auto& [lease, run] : runs_) {
      if (run.reason == StopReason::none) run.reason = StopReason::shutdown;
      sources.push_back(run.source);
    }
    work_.notify_all();
  }
  for (std::stop_source& source : sources) source.request_stop();
}

void ThreadExecutor::serve() {
  mutex_.lock();
  while (true) {
    while (waiting_.empty() && !closed_) {
      ++idle_;
      work_.wait(mutex_);
      --idle_;
      waking_ = false;
    }
    if (waiting_.empty()) break;
    const Job job = std::move(waiting_.front());
    waiting_.pop_front();
    ++taken_;
    if (!is_batching()) wake_one_if_idle();
    const std::stop_token token = runs_.at(job.lease).source.get_token();
    mutex_.unlock();
    Completion completion = run(job, token);
    mutex_.lock();
    completion.stopped = runs_.at(job.lease).reason;
    runs_.erase(job.lease);
    const bool quietly = is_batching();
    mutex_.unlock();
    if (quietly)
      completions_.push_quietly(std::move(completion));
    else
      completions_.push(std::move(completion));
    mutex_.lock();
  }
  --alive_;
  ended_.notify_all();
  mutex_.unlock();
}

Completion ThreadExecutor::run(const Job& job, std::stop_token token) const {
  const auto begin = std::chrono::steady_clock::now();
  Completion completion{.lease = job.lease};
  if (token.stop_requested()) {
    completion.outcome = Outcome::nack("cancelled: before it began");
    return completion;
  }
  RunContext context(job, std::move(token), outputs_, children_);
  const Kind* kind = registry_.find(job.kind);
  MR_ASSERT(kind != nullptr, "kind `{}` was never offered", job.kind);
  try {
    instrument::crash_point("worker.before_handler");
    completion.outcome = kind->handler(context);
    instrument::crash_point("worker.after_handler");
  } catch (const std::exception& error) {
    completion.outcome = Outcome::nack(error.what());
  } catch (...) {
    completion.outcome = Outcome::nack(kThrewNoText);
  }
  completion.elapsed = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::steady_clock::now() - begin);
  return completion;
}

}  // namespace millrace::worker

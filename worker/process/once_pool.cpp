#include "worker/process/once_pool.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <utility>

#include "common/limits.h"
#include "worker/process/child_end.h"
#include "worker/process/child_watch.h"
#include "worker/text.h"

namespace millrace::worker {
namespace {

/// No broker takes more; what is above its own limit is rejected by the workbench.
constexpr std::size_t kResultBytesMax = 16 * kMiB;
constexpr int kDataError = 65;  // EX_DATAERR

Payload as_payload(std::string bytes) {
  return is_utf8(bytes) ? Payload::text(std::move(bytes)) : Payload::binary(std::move(bytes));
}

}  // namespace

OncePool::OncePool(ProcessHost& host, ProcessSpec spec, CompletionQueue& completions)
    : host_(host), spec_(std::move(spec)), completions_(completions) {}

OncePool::~OncePool() {
  for (const Run& run : running_)
    if (run.child) host_.forget(*run.child);
}

void OncePool::begin() { look_after_long_runs(); }

void OncePool::add(std::vector<Job> jobs) {
  for (Job& job : jobs) run(std::move(job));
}

void OncePool::run(Job job) {
  ++runs_;
  running_.push_back({.job = std::move(job), .child = nullptr});
  Run& run = running_.back();
  run.begun = Clock::now();
  SpawnRequest request;
  request.command = spec_.command;
  request.clean_environment = true;
  request.environment = spec_.environment;
  request.environment.push_back(fmt::format("MILLRACE_JOB={}", run.job.id.value));
  request.environment.push_back(fmt::format("MILLRACE_ATTEMPT={}", run.job.attempt));
  request.environment.push_back(fmt::format("MILLRACE_LEASE={}", run.job.lease.value));
  request.limits = spec_.limits;
  request.user = spec_.user;
  try {
    run.child = host_.spawn(std::move(request), *this);
    run.child->write(run.job.payload.bytes);
    run.child->close_input();
  } catch (const std::exception& error) {
    complete(std::prev(running_.end()),
             Outcome::nack(fmt::format("cannot_start: {}", error.what())), false);
  }
}

void OncePool::cancel(LeaseId lease, StopReason reason) {
  for (Run& run : running_) {
    if (run.job.lease != lease || run.stopped != StopReason::none) continue;
    run.stopped = reason;
    condemn(run, "cancelled");
  }
}

void OncePool::close() {
  for (Run& run : running_) cancel(run.job.lease, StopReason::shutdown);
}

void OncePool::condemn(Run& run, std::string verdict) {
  if (run.verdict.empty()) run.verdict = std::move(verdict);
  if (run.child) run.child->kill();
}

std::list<OncePool::Run>::iterator OncePool::run_of(const Child& child) {
  return std::find_if(running_.begin(), running_.end(),
                      [&](const Run& run) { return run.child.get() == &child; });
}

void OncePool::on_output(Child& child, std::string_view part) {
  Run& run = *run_of(child);
  if (!run.verdict.empty()) return;
  run.result += part;
  if (run.result.size() > kResultBytesMax)
    condemn(run, fmt::format("result_too_large: more than {} MiB", kResultBytesMax / kMiB));
}

void OncePool::on_not_started(Child& child, const std::string& error) {
  complete(run_of(child),
           Outcome::nack(fmt::format("cannot_start: `{}`: {}", spec_.command.front(), error)),
           false);
}

void OncePool::on_ended(Child& child, const NurseryReport& report) {
  child.drain();
  const auto run = run_of(child);
  const std::string tail = child.error_tail();
  const int status = report.status;
  if (run->stopped != StopReason::none)
    return complete(run, Outcome::nack("cancelled: its process was killed"), false);
  if (!run->verdict.empty())
    return complete(run, Outcome::nack(with_errors(run->verdict, tail)), false);
  if (!report.error.empty() || WIFSIGNALED(status))
    return complete(run, Outcome::nack(crash_text(report, tail)), true);
  if (status == 0) return complete(run, Outcome::ack(as_payload(std::move(run->result))), false);
  std::string error = with_errors(fmt::format("exit: {}", status_text(status)), tail);
  complete(run,
           WEXITSTATUS(status) == kDataError ? Outcome::reject(std::move(error))
                                             : Outcome::nack(std::move(error)),
           false);
}

void OncePool::complete(std::list<Run>::iterator run, Outcome outcome, bool crashed) {
  Completion completion{
      .lease = run->job.lease,
      .outcome = std::move(outcome),
      .stopped = run->stopped,
      .elapsed = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - run->begun)};
  completion.crashed = crashed;
  running_.erase(run);
  completions_.push(std::move(completion));
  count_end();
}

void OncePool::look_after_long_runs() {
  for (Run& run : running_) {
    if (!run.verdict.empty() || !run.child) continue;
    if (auto passed = limit_passed(*run.child, spec_.limits, Clock::now() - run.begun))
      condemn(run, std::move(*passed));
  }
  after(host_.loop(), kChildLook, [this] { look_after_long_runs(); });
}

}  // namespace millrace::worker

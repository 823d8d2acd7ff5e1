#include "worker/process/child_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/util/log.h"
#include "common/util/parse.h"
#include "common/util/process_tree.h"
#include "worker/process/child_end.h"
#include "worker/process/child_watch.h"

namespace millrace::worker {
namespace {

/// Of its mean run time, what a child may have before it.
constexpr std::chrono::microseconds kBatchSpan{1000};
constexpr std::size_t kBatchMax = 64;
constexpr Duration kReadyPatience{10'000};
/// A child that was told to cancel may answer for so long before it is killed.
constexpr Duration kCancelPatience{200};
/// A child whose stdin was closed may end by itself for so long.
constexpr Duration kRetirePatience{5000};
/// A child that closed its stdout may end by itself for so long.
constexpr Duration kClosedPatience{500};
constexpr Duration kOutputPause{5};
constexpr Duration kRespawnFirst{100};
constexpr Duration kRespawnMax{30'000};

bool may_queue(const Job& job) {
  return job.deliveries == 1 && job.attempt == 1 && job.timeout == Duration{0};
}

}  // namespace

ChildPool::ChildPool(ProcessHost& host, ProcessSpec spec, CompletionQueue& completions,
                     OutputBuffer& outputs, ChildJobs& children)
    : host_(host),
      spec_(std::move(spec)),
      completions_(completions),
      outputs_(outputs),
      children_(children) {}

ChildPool::~ChildPool() {
  for (const Member& member : members_) {
    host_.forget(*member.child);
    if (member.patience) host_.loop().cancel(*member.patience);
  }
}

// ---- what the agent asks for -------------------------------------------------------------------

void ChildPool::begin() {
  spawn_missing();
  look_after_long_runs();
}

void ChildPool::add(std::vector<Job> jobs) {
  for (Job& job : jobs) {
    ++runs_;
    waiting_.push_back({.job = std::move(job)});
  }
  spawn_missing();
  feed();
}

void ChildPool::cancel(LeaseId lease, StopReason reason) {
  const auto is_it = [&](const Run& run) { return run.job.lease == lease; };
  const auto waiting = std::find_if(waiting_.begin(), waiting_.end(), is_it);
  if (waiting != waiting_.end()) {
    Run run = std::move(*waiting);
    waiting_.erase(waiting);
    run.stopped = reason;
    return complete(run, Outcome::nack("cancelled: before it began"), false);
  }
  for (Member& member : members_) {
    const auto found = std::find_if(member.runs.begin(), member.runs.end(), is_it);
    if (found == member.runs.end()) continue;
    if (found->stopped != StopReason::none) return;
    found->stopped = reason;
    if (found == member.runs.begin()) stop_run(member);
    return;
  }
}

void ChildPool::close() {
  closed_ = true;
  while (!waiting_.empty()) cancel(waiting_.front().job.lease, StopReason::shutdown);
  for (Member& member : members_) {
    std::vector<LeaseId> leases;
    for (const Run& run : member.runs) leases.push_back(run.job.lease);
    for (const LeaseId lease : leases) cancel(lease, StopReason::shutdown);
    member.retiring = true;
    if (member.runs.empty()) member.child->close_input();
  }
}

// ---- children come and go ----------------------------------------------------------------------

void ChildPool::spawn_missing() {
  if (closed_ || respawn_pending_) return;
  const auto fit = static_cast<std::size_t>(std::count_if(
      members_.begin(), members_.end(),
      [](const Member& member) { return !member.retiring && member.verdict.empty(); }));
  for (std::size_t i = fit; i < spec_.size && !respawn_pending_; ++i) spawn_one();
}

void ChildPool::spawn_one() {
  try {
    SpawnRequest request;
    request.command = spec_.command;
    request.self = spec_.self;
    request.environment = spec_.environment;
    request.limits = spec_.limits;
    request.user = spec_.user;
    members_.push_back({.child = host_.spawn(std::move(request), *this)});
    kill_after(
        members_.back(), kReadyPatience,
        fmt::format("not_ready: it sent no `ready` within {}", format_duration(kReadyPatience)));
  } catch (const std::exception& error) {
    log::warn("kind {}: no child: {}", spec_.kind, error.what());
    fail_waiting(error.what());
  }
}

void ChildPool::on_started(Child& child) {
  log::debug("kind {}: child {}", spec_.kind, child.pid());
}

void ChildPool::on_not_started(Child& child, const std::string& error) {
  const auto member = member_of(child);
  if (member->patience) host_.loop().cancel(*member->patience);
  members_.erase(member);
  log::warn("kind {}: `{}` cannot be started: {}", spec_.kind, spec_.command.front(), error);
  fail_waiting(fmt::format("cannot_start: `{}`: {}", spec_.command.front(), error));
}

/// One waiting job pays for a child that could not begin, and the next child comes later: so the
/// reason is seen, and nothing spins.
void ChildPool::fail_waiting(const std::string& error) {
  if (!waiting_.empty()) {
    const Run run = std::move(waiting_.front());
    waiting_.pop_front();
    complete(run, Outcome::nack(error), false);
  }
  if (respawn_pending_) return;
  respawn_pending_ = true;
  const Duration delay = std::min(kRespawnMax, kRespawnFirst * (1 << std::min(false_starts_, 9U)));
  ++false_starts_;
  after(host_.loop(), delay, [this] {
    respawn_pending_ = false;
    spawn_missing();
  });
}

void ChildPool::on_ended(Child& child, const NurseryReport& report) {
  child.drain();
  const auto found = member_of(child);
  Member member = std::move(*found);
  members_.erase(found);
  if (member.patience) host_.loop().cancel(*member.patience);
  const std::string tail = member.child->error_tail();
  if (!member.runs.empty()) {
    const Run run = std::move(member.runs.front());
    member.runs.pop_front();
    if (run.stopped != StopReason::none)
      complete(run, Outcome::nack("cancelled: its process was killed"), false);
    else if (!member.verdict.empty())
      complete(run, Outcome::nack(with_errors(member.verdict, tail)), false);
    else
      complete(run, Outcome::nack(crash_text(report, tail)), true);
  }
  while (!member.runs.empty()) {
    waiting_.push_front(std::move(member.runs.back()));
    member.runs.pop_back();
  }
  if (!member.ready && !member.retiring) {
    const std::string why = member.verdict.empty() ? crash_text(report, tail) : member.verdict;
    log::warn("kind {}: a child ended before it was ready: {}", spec_.kind, why);
    fail_waiting("cannot_start: " + why);
  }
  spawn_missing();
  feed();
}

std::list<ChildPool::Member>::iterator ChildPool::member_of(const Child& child) {
  return std::find_if(members_.begin(), members_.end(),
                      [&](const Member& member) { return member.child.get() == &child; });
}

// ---- jobs go out -------------------------------------------------------------------------------

/// The one that is to get the next waiting job; null: none may have it.
ChildPool::Member* ChildPool::next_member() {
  Member* best = nullptr;
  for (Member& member : members_)
    if (member.ready && !member.retiring && member.verdict.empty() &&
        (best == nullptr || member.runs.size() < best->runs.size()))
      best = &member;
  if (best == nullptr || best->runs.empty()) return best;
  const bool short_ones = may_queue(waiting_.front().job) && may_queue(best->runs.front().job) &&
                          best->runs.front().stopped == StopReason::none;
  const std::size_t depth = std::min(kBatchMax, run_mean_.within(kBatchSpan));
  return short_ones && best->runs.size() < depth ? best : nullptr;
}

void ChildPool::feed() {
  while (!waiting_.empty()) {
    Member* member = next_member();
    if (member == nullptr) return;
    give(*member);
  }
}

void ChildPool::give(Member& member) {
  member.runs.push_back(std::move(waiting_.front()));
  waiting_.pop_front();
  const Run& run = member.runs.back();
  member.child->write(encode({.type = ToChild::Type::job, .lease = run.job.lease, .job = &run.job},
                             member.stream.form()));
  if (member.runs.size() == 1) begin_next(member);
}

/// What is now first in its channel is what it is at.
void ChildPool::begin_next(Member& member) {
  Run& run = member.runs.front();
  run.begun = Clock::now();
  member.child->forget_errors();
  if (run.stopped != StopReason::none) stop_run(member);
}

void ChildPool::stop_run(Member& member) {
  const Run& run = member.runs.front();
  member.child->write(
      encode({.type = ToChild::Type::cancel, .lease = run.job.lease}, member.stream.form()));
  kill_after(member, kCancelPatience, "cancelled");
}

void ChildPool::kill_after(Member& member, Duration patience, std::string verdict) {
  if (member.patience) host_.loop().cancel(*member.patience);
  member.patience = host_.loop().after(patience, [this, &member, verdict = std::move(verdict)] {
    member.patience.reset();
    condemn(member, verdict);
  });
}

void ChildPool::condemn(Member& member, std::string verdict) {
  if (member.verdict.empty()) member.verdict = std::move(verdict);
  member.child->kill();
}

// ---- what children say -------------------------------------------------------------------------

void ChildPool::on_output(Child& child, std::string_view part) {
  Member& member = *member_of(child);
  member.stream.append(part);
  read_messages(member);
}

void ChildPool::read_messages(Member& member) {
  while (member.verdict.empty()) {
    // The broker takes output more slowly than it comes: the child has to wait, nobody else.
    if (outputs_.is_full() && !member.runs.empty()) {
      if (!std::exchange(member.paused, true)) member.child->pause_output(true);
      after(host_.loop(), kOutputPause, [this, id = member.child->id()] {
        for (Member& paused : members_)
          if (paused.child->id() == id) read_messages(paused);
      });
      return;
    }
    const auto body = member.stream.next();
    if (!body) return condemn(member, "protocol: " + body.error().message);
    if (!*body) break;
    auto message = decode_from_child(**body, member.stream.form());
    if (!message) return condemn(member, "protocol: " + message.error().message);
    on_message(member, std::move(*message));
  }
  if (std::exchange(member.paused, false)) member.child->pause_output(false);
  feed();
}

void ChildPool::on_output_closed(Child& child) {
  Member& member = *member_of(child);
  if (member.retiring && member.runs.empty()) return;
  kill_after(member, kClosedPatience, "closed_stdout: it closed its output before it answered");
}

void ChildPool::on_message(Member& member, FromChild message) {
  using Type = FromChild::Type;
  if (message.type == Type::ready) return on_ready(member, message);
  if (member.runs.empty() || member.runs.front().job.lease != message.lease)
    return condemn(member, fmt::format("protocol: it speaks of lease {}, which it does not run",
                                       message.lease.value));
  const Job& job = member.runs.front().job;
  std::stop_source stopped;
  stopped.request_stop();  // there is room: nothing here may wait for any
  switch (message.type) {
    case Type::result:
      return end_run(member, Outcome::ack(std::move(message.data)));
    case Type::error:
      return end_run(member, message.retry ? Outcome::nack(std::move(message.text), message.delay)
                                           : Outcome::reject(std::move(message.text)));
    case Type::progress:
      return outputs_.progress(job, message.done, message.total, message.text);
    case Type::log:
      return outputs_.log(job, stopped.get_token(), message.text);
    case Type::chunk:
      try {
        return outputs_.chunk(job, stopped.get_token(), std::move(message.data));
      } catch (const std::exception& error) {
        return condemn(member, error.what());
      }
    case Type::enqueue:
      return on_enqueue(member, std::move(message));
    case Type::ready:
      break;
  }
}

void ChildPool::on_ready(Member& member, const FromChild& message) {
  if (message.protocol != kStdioVersion)
    return condemn(member, fmt::format("protocol: it speaks version {}, this worker {}",
                                       message.protocol, kStdioVersion));
  if (member.ready) return;
  member.ready = true;
  false_starts_ = 0;
  if (member.patience) host_.loop().cancel(*std::exchange(member.patience, std::nullopt));
  member.helpers = children_of(member.child->pid());
}

void ChildPool::on_enqueue(Member& member, FromChild message) {
  if (message.jobs.empty()) return condemn(member, "protocol: it enqueues no job");
  children_.enqueue(member.runs.front().job, {}, std::move(message.jobs), message.queue,
                    [this, life = life(), child = member.child->id(), lease = message.lease,
                     request = message.request](const ChildJobs::Answer& answer) {
                      // On the agent's thread, which ends before the host does.
                      host_.post([this, life, child, lease, request, answer] {
                        if (!life.expired()) answer_enqueue(child, lease, request, answer);
                      });
                    });
}

void ChildPool::answer_enqueue(std::uint64_t child, LeaseId lease, std::uint64_t request,
                               const ChildJobs::Answer& answer) {
  ToChild told{.type = ToChild::Type::enqueued, .lease = lease, .request = request};
  if (answer)
    told.ids = *answer;
  else
    told.error = fmt::format("{}: {}", to_string(answer.error().code), answer.error().message);
  for (Member& member : members_)
    if (member.child->id() == child) member.child->write(encode(told, member.stream.form()));
}

void ChildPool::end_run(Member& member, Outcome outcome) {
  const Run run = std::move(member.runs.front());
  member.runs.pop_front();
  ++member.jobs_done;
  if (member.patience) host_.loop().cancel(*std::exchange(member.patience, std::nullopt));
  if (member.runs.empty()) {
    if (auto left = leftovers(member)) {
      outcome = Outcome::nack(*left);
      condemn(member, std::move(*left));
    }
  }
  complete(run, std::move(outcome), false);
  if (member.runs.empty())
    rest(member);
  else
    begin_next(member);
}

/// What a job left running besides its process.
std::optional<std::string> ChildPool::leftovers(const Member& member) const {
  for (const pid_t pid : children_of(member.child->pid())) {
    if (std::find(member.helpers.begin(), member.helpers.end(), pid) != member.helpers.end() ||
        is_dead(pid))
      continue;
    return fmt::format("left_behind: process {} still runs after the job", pid);
  }
  return std::nullopt;
}

/// It has nothing to do: the time to see whether it is still worth keeping.
void ChildPool::rest(Member& member) {
  if (!member.verdict.empty()) return;
  bool worn_out = spec_.jobs_per_child > 0 && member.jobs_done >= spec_.jobs_per_child;
  if (spec_.memory_growth_max > 0 && !worn_out) {
    const std::uint64_t rss = resident_bytes(member.child->pid());
    if (member.rss_first == 0) member.rss_first = rss;
    worn_out = rss > member.rss_first + spec_.memory_growth_max;
  }
  if (!worn_out && !member.retiring) return;
  member.retiring = true;
  member.child->close_input();
  kill_after(member, kRetirePatience, "retired");
  spawn_missing();
}

void ChildPool::complete(const Run& run, Outcome outcome, bool crashed) {
  const bool ran = run.begun != Clock::time_point{};
  Completion completion{.lease = run.job.lease,
                        .outcome = std::move(outcome),
                        .stopped = run.stopped,
                        .elapsed = ran ? std::chrono::duration_cast<std::chrono::microseconds>(
                                             Clock::now() - run.begun)
                                       : std::chrono::microseconds{}};
  completion.crashed = crashed;
  if (ran && run.stopped == StopReason::none) run_mean_.add(completion.elapsed);
  if (runs_ > spec_.size + 1)
    completions_.push_quietly(std::move(completion));
  else
    completions_.push(std::move(completion));
  count_end();
}

void ChildPool::look_after_long_runs() {
  for (Member& member : members_) {
    if (member.runs.empty() || !member.verdict.empty()) continue;
    const auto running = Clock::now() - member.runs.front().begun;
    if (auto passed = limit_passed(*member.child, spec_.limits, running))
      condemn(member, std::move(*passed));
  }
  after(host_.loop(), kChildLook, [this] { look_after_long_runs(); });
}

}  // namespace millrace::worker

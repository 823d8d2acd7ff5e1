#include "tests/simulation/sim_executor.h"

#include <fmt/format.h>

#include <stdexcept>
#include <stop_token>

#include "tests/simulation/sim_producer.h"

namespace millrace::simulation {

using worker::StopReason;

namespace {

/// Long enough that STARTED is written, so that the broker counts the crash whatever happens to it.
constexpr Duration kPoisonTakes{1300};
constexpr std::size_t kWritesMax = 4;
constexpr const char* kChild = "child";

JobRequest to_request(protocol::NewJob job) {
  return {.kind = std::move(job.kind),
          .payload = std::move(job.payload),
          .priority = job.priority,
          .max_attempts = job.max_attempts,
          .delay = job.delay,
          .run_at = job.run_at,
          .timeout = job.timeout,
          .retry = std::move(job.retry),
          .crashes_max = job.crashes_max,
          .expires_in = job.expires_in,
          .expires_at = job.expires_at,
          .unique = {std::move(job.unique_key), job.unique_scope, job.unique_ttl, job.on_conflict}};
}

}  // namespace

SimExecutor::SimExecutor(World& world, SimRandom& random, Host& host, worker::OutputBuffer& outputs,
                         worker::ChildJobs& children, std::size_t slots)
    : world_(world),
      random_(random),
      host_(host),
      outputs_(outputs),
      children_(children),
      slots_(slots) {}

void SimExecutor::start(std::vector<Job> jobs) {
  for (Job& job : jobs) {
    const LeaseId lease = job.lease;
    Run run{.job = std::move(job), .began = world_.now().mono, .number = ++last_run_};
    Duration time = random_.spread(Duration{1}, world_.config().run_max);
    if (run.job.kind == "slow") time *= 3;
    if (run.job.timeout > Duration{0} && world_.faulty(Fault::hang) && random_.chance(0.4)) {
      run.deaf = random_.chance(0.5);
      time = run.job.timeout + random_.between(Duration{100}, Duration{4000});
    }
    if (run.job.kind == "poison") time = kPoisonTakes;
    runs_.emplace(lease, std::move(run));
    finish_in(lease, time);
    if (world_.config().faults.has(Fault::outputs) && random_.chance(0.5))
      write_within(lease, time);
    if (world_.config().faults.has(Fault::children) && random_.chance(0.15))
      enqueue_within(lease, time);
  }
}

/// Children have none of their own, and none come when all shall end.
void SimExecutor::enqueue_within(LeaseId lease, Duration time) {
  if (runs_.at(lease).job.payload.bytes.starts_with(kChild)) return;
  world_.after(random_.between(Duration{0}, time),
               [this, lease, alive = std::weak_ptr<int>(alive_)] {
                 if (!alive.expired() && runs_.contains(lease) && !world_.healing()) enqueue(lease);
               });
}

void SimExecutor::enqueue(LeaseId lease) {
  const Job& parent = runs_.at(lease).job;
  const std::string queue = random_.chance(0.8) ? parent.queue : parent.queue == "a" ? "b" : "a";
  std::vector<JobRequest> jobs;
  for (std::uint64_t i = 0, count = 1 + random_.below(3); i < count; ++i)
    jobs.push_back(
        to_request(draw_job(world_.config(), random_, world_.now(),
                            fmt::format("{}/{}/{}", kChild, children_.prefix(), ++last_child_))));
  world_.note("the run of job {} enqueues {} jobs", parent.id.value, jobs.size());
  children_.enqueue(parent, {}, std::move(jobs), queue,
                    [this, parent, queue](const worker::ChildJobs::Answer& answer) {
                      host_.enqueued(parent, queue, answer);
                    });
  host_.wrote();
}

/// A few things at any time of the run.
void SimExecutor::write_within(LeaseId lease, Duration time) {
  for (std::size_t i = 0, count = 1 + random_.below(kWritesMax); i < count; ++i)
    world_.after(random_.between(Duration{0}, time),
                 [this, lease, alive = std::weak_ptr<int>(alive_)] {
                   if (!alive.expired() && runs_.contains(lease)) write(lease);
                 });
}

void SimExecutor::write(LeaseId lease) {
  Run& run = runs_.at(lease);
  const std::string text = fmt::format("{}/{}", lease.value, ++run.written);
  const double what = random_.real();
  if (what < 0.5) {
    outputs_.log(run.job, std::stop_token{}, text);
  } else if (what < 0.8) {
    outputs_.progress(run.job, run.written, 0, text);
  } else {
    try {
      outputs_.chunk(run.job, std::stop_token{}, Payload::binary(text));
    } catch (const std::length_error&) {
      world_.note("a run of job {} may leave no more behind", run.job.id.value);
    }
  }
  host_.wrote();
}

void SimExecutor::finish_in(LeaseId lease, Duration time) {
  world_.after(time,
               [this, lease, number = runs_.at(lease).number, alive = std::weak_ptr<int>(alive_)] {
                 if (alive.expired()) return;
                 const auto run = runs_.find(lease);
                 if (run != runs_.end() && run->second.number == number) finish(lease);
               });
}

void SimExecutor::cancel(LeaseId lease, StopReason reason) {
  const auto run = runs_.find(lease);
  if (run == runs_.end() || run->second.stopped != StopReason::none) return;
  run->second.stopped = reason;
  if (run->second.deaf) return;
  run->second.number = ++last_run_;
  finish_in(lease, random_.between(Duration{1}, Duration{30}));
}

void SimExecutor::finish(LeaseId lease) {
  const Run run = std::move(runs_.extract(lease).mapped());
  if (run.job.kind == "poison" && run.stopped == StopReason::none) {
    runs_.emplace(lease, run);
    return host_.killed();
  }
  worker::Completion completion{.lease = lease, .outcome = judge(run), .stopped = run.stopped};
  completion.elapsed = world_.now().mono - run.began;
  if (world_.config().faults.has(Fault::crashes) && random_.chance(0.1)) {
    completion.outcome = Outcome::nack("crash: signal 11");
    completion.crashed = true;
  }
  host_.completed(std::move(completion));
}

Outcome SimExecutor::judge(const Run& run) {
  const bool flaky = run.job.kind == "flaky";
  const double chance = random_.real();
  if (flaky && chance < 0.35) {
    if (random_.chance(0.3))
      return Outcome::nack("refused: flaky", random_.between(Duration{0}, Duration{2000}));
    return Outcome::nack("refused: flaky");
  }
  if (flaky && chance < 0.4) return Outcome::reject("bad_payload: flaky");
  return Outcome::ack(Payload::text(fmt::format("{}", run.job.lease.value)));
}

std::vector<LeaseId> SimExecutor::running() const {
  std::vector<LeaseId> leases;
  for (const auto& [lease, run] : runs_) leases.push_back(lease);
  return leases;
}

}  // namespace millrace::simulation

#include "tests/simulation/sim_executor.h"

#include <fmt/format.h>

#include <stdexcept>
#include <stop_token>

namespace millrace::simulation {

using worker::StopReason;

namespace {

/// Long enough that STARTED is written, so that the broker counts the crash whatever happens to it.
constexpr Duration kPoisonTakes{1300};
constexpr std::size_t kWritesMax = 4;

}  // namespace

SimExecutor::SimExecutor(World& world, SimRandom& random, Host& host, worker::OutputBuffer& outputs,
                         std::size_t slots)
    : world_(world), random_(random), host_(host), outputs_(outputs), slots_(slots) {}

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
  }
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

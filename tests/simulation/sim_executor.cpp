#include "tests/simulation/sim_executor.h"

#include <fmt/format.h>

namespace millrace::simulation {

using worker::StopReason;

namespace {

/// Long enough that STARTED is written, so that the broker counts the crash whatever happens to it.
constexpr Duration kPoisonTakes{1300};

}  // namespace

SimExecutor::SimExecutor(World& world, SimRandom& random, Host& host, std::size_t slots)
    : world_(world), random_(random), host_(host), slots_(slots) {}

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
  }
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

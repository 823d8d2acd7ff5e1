#include "tests/simulation/sim_world.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/simulation/history.h"
#include "tests/simulation/powerloss_store.h"
#include "tests/simulation/rules.h"
#include "tests/simulation/sim_admin.h"
#include "tests/simulation/sim_broker.h"
#include "tests/simulation/sim_network.h"
#include "tests/simulation/sim_producer.h"
#include "tests/simulation/sim_worker.h"
#include "tests/simulation/weather.h"

namespace millrace::simulation {
namespace {

const Now kBeginning{Instant{Duration{1'000'000}}, Time{Duration{1'700'000'000'000}}};
/// Without any progress.
constexpr Duration kRestWithin{100'000};
constexpr Duration kLookEvery{250};

std::unique_ptr<SimStore> make_store(const SimConfig& config) {
  if (config.request.store == StoreKind::memory) return std::make_unique<SimMemoryStore>();
  return std::make_unique<PowerlossStore>(config.request.seed, config.request.synchronous);
}

}  // namespace

World::World(const SimConfig& config, bool print_trace)
    : config_(config),
      log_(print_trace),
      random_(config.request.seed),
      now_(kBeginning),
      utc_max_(now_.utc),
      utc_min_(now_.utc),
      history_(std::make_unique<History>(*this)),
      network_(std::make_unique<Network>(*this)),
      broker_(std::make_unique<SimBroker>(*this, make_store(config))),
      weather_(std::make_unique<Weather>(*this)) {}

World::~World() = default;

void World::after(Duration delay, std::function<void()> what) {
  events_.push({now_.mono + delay, ++last_event_, std::move(what)});
}

void World::set_wall_clock(Duration by) {
  note(by < Duration{0} ? "the wall clock is set back by {} ms"
                        : "the wall clock is set on by {} ms",
       std::chrono::abs(by).count());
  now_.utc += by;
  utc_min_ = std::min(utc_min_, now_.utc);
  utc_max_ = std::max(utc_max_, now_.utc);
  clock_sets_.push_back(now_.mono);
}

bool World::clock_was_set(Instant from, Instant to) const {
  return std::any_of(clock_sets_.begin(), clock_sets_.end(),
                     [&](Instant at) { return at >= from && at <= to; });
}

void World::run_until(Instant end) {
  while (!events_.empty() && events_.top().at <= end) {
    // The queue only shows its top as const; it is taken out at once.
    Event event = std::move(const_cast<Event&>(events_.top()));
    events_.pop();
    const Duration passed = event.at - now_.mono;
    now_.mono += passed;
    now_.utc += passed;
    utc_max_ = std::max(utc_max_, now_.utc);
    event.what();
  }
}

void World::run() {
  broker_->start();
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < config_.producers; ++i)
    producers_.push_back(std::make_unique<SimProducer>(*this, ++number));
  for (std::size_t i = 0; i < config_.workers; ++i)
    workers_.push_back(std::make_unique<SimWorker>(*this, ++number));
  admin_ = std::make_unique<SimAdmin>(*this, ++number);
  weather_->begin();
  run_until(kBeginning.mono + config_.until);
  heal();
  come_to_rest();
  check_rules({*history_, broker_->rows(), producers_});
}

void World::heal() {
  note("the faults end, after {} jobs", history_->jobs.size());
  healing_ = true;
  weather_->heal();
  if (config_.faults.has(Fault::clock)) {
    // Times that were stored before the clock was set back would be days ahead.
    set_wall_clock(utc_max_ - now_.utc);
    broker_->kill();
  }
}

std::string World::unrest() const {
  if (!broker_->up()) return "the broker is down";
  if (!admin_->in_order()) return "the admin waits";
  if (const auto job = history_->open_job())
    return fmt::format("job {} is open, as are {} others", job->value, history_->open_jobs() - 1);
  for (const auto& producer : producers_)
    if (!producer->at_rest()) return producer->describe();
  for (const auto& worker : workers_)
    if (!worker->at_rest()) return worker->describe();
  return {};
}

std::string World::job_states() const {
  std::string text;
  if (!broker_->up()) return text;
  const broker::MemoryState& rows = broker_->rows();
  for (const auto& [name, queue] : rows.queues)
    text += fmt::format("; queue {} is {}{}", name, to_string(queue.state),
                        queue.paused ? ", paused" : "");
  for (const auto& [id, job] : rows.jobs)
    if (const auto& status = job.record.status; !is_final(status.state))
      text += fmt::format("; job {} of kind {} is `{}` under lease {}", id.value,
                          rows.lanes.at(job.record.spec.lane).kind, to_string(status.state),
                          status.lease.value);
  return text;
}

void World::come_to_rest() {
  Instant end = now_.mono + kRestWithin;
  std::size_t open = history_->open_jobs();
  const auto wait = [&](const auto& still) {
    for (std::string what = still(); !what.empty(); what = still()) {
      if (history_->open_jobs() < open) end = now_.mono + kRestWithin;
      open = history_->open_jobs();
      if (now_.mono >= end)
        throw Violation(fmt::format("it does not come to rest: {}{}", what, job_states()));
      run_until(now_.mono + kLookEvery);
    }
  };
  wait([this] { return unrest(); });
  admin_->close_all();
  wait([this] { return std::string(admin_->all_closed() ? "" : "a queue does not drain"); });
  const protocol::Report& report = admin_->report();
  require(report.jobs_in_memory == 0, "{} jobs stay in memory", report.jobs_in_memory);
  for (const protocol::QueueInfo& queue : report.queues)
    require(queue.open_jobs() == 0, "queue {} counts {} open jobs", queue.queue, queue.open_jobs());
}

}  // namespace millrace::simulation

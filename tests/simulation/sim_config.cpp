#include "tests/simulation/sim_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tests/simulation/sim_random.h"

namespace millrace::simulation {
namespace {

constexpr std::array<std::string_view, kFaultCount> kFaultNames = {
#define MR_FAULT(name, meaning) #name,
    MR_FAULTS(MR_FAULT)
#undef MR_FAULT
};

FaultSet draw_faults(SimRandom& random) {
  FaultSet faults;
  // Few classes at a time go deeper than all at once; some runs have none, and must be quick.
  const double share = random.chance(0.1) ? 0.0 : 0.15 + 0.6 * random.real();
  for (std::size_t i = 0; i < kFirstFeature; ++i)
    if (random.chance(share)) faults.set(static_cast<Fault>(i));
  return faults;
}

/// From a source of its own, so that a run without them is what it was before there were any.
void draw_features(const SimRequest& request, SimConfig& config) {
  SimRandom random(request.seed * 0x9E3779B97F4A7C15ULL + 3);
  if (random.chance(0.25)) return;
  constexpr auto kYoung = static_cast<std::size_t>(Fault::crashes);
  for (std::size_t i = kFirstFeature; i < kYoung; ++i)
    if (random.chance(0.5)) config.faults.set(static_cast<Fault>(i));
  if (config.faults.has(Fault::outputs) && random.chance(0.2))
    config.limits.output_rows_max = static_cast<std::uint64_t>(random.between(1, 4));
  for (std::size_t i = kYoung; i < kFaultCount; ++i)
    if (random.chance(0.5)) config.faults.set(static_cast<Fault>(i));
}

Limits draw_limits(SimRandom& random) {
  Limits limits;
  const auto tiny = [&](std::uint64_t& limit, std::int64_t low, std::int64_t high) {
    if (random.chance(0.4)) limit = static_cast<std::uint64_t>(random.between(low, high));
  };
  if (random.chance(0.7))
    limits.window_jobs_max = static_cast<std::uint64_t>(random.between(2, 12));
  tiny(limits.window_bytes_max, 200, 4000);
  tiny(limits.results_rows_max, 1, 8);
  tiny(limits.leases_per_worker_max, 1, 6);
  tiny(limits.queue_jobs_max, 10, 40);
  tiny(limits.parked_bytes_max, 400, 4000);
  return limits;
}

void apply_request(SimConfig& config, const SimRequest& request) {
  if (request.until.count() != 0) config.until = std::min(config.until, request.until);
  if (request.producers != 0) config.producers = std::min(config.producers, request.producers);
  if (request.workers != 0) config.workers = std::min(config.workers, request.workers);
  for (const Fault fault : request.without) config.faults.clear(fault);
}

}  // namespace

std::string_view to_string(Fault fault) { return kFaultNames.at(static_cast<std::size_t>(fault)); }

bool parse(std::string_view name, Fault& fault) {
  const auto found = std::find(kFaultNames.begin(), kFaultNames.end(), name);
  if (found == kFaultNames.end()) return false;
  fault = static_cast<Fault>(found - kFaultNames.begin());
  return true;
}

SimConfig draw_config(const SimRequest& request) {
  SimRandom random(request.seed * 0x2545F4914F6CDD1DULL + 1);
  SimConfig config;
  config.request = request;
  config.faults = draw_faults(random);
  config.fault_mean = random.spread(Duration{800}, Duration{8000});
  config.until = random.spread(Duration{4000}, Duration{20'000});
  config.producers = static_cast<std::size_t>(random.between(1, random.chance(0.3) ? 4 : 2));
  config.workers = static_cast<std::size_t>(random.between(1, random.chance(0.3) ? 8 : 3));
  config.latency_max = random.spread(Duration{1}, Duration{60});
  config.commit_max = random.spread(Duration{1}, Duration{60});
  config.run_max = random.spread(Duration{20}, Duration{2500});
  config.think_max = random.spread(Duration{150}, Duration{2500});
  config.lost_after = random.between(Duration{2000}, Duration{4000});
  config.resume_grace = random.between(Duration{5000}, Duration{10'000});
  config.clock_max = random.spread(Duration{2000}, Duration{3L * 24 * 3600 * 1000});
  config.limits = draw_limits(random);
  config.request_jobs_max = static_cast<std::size_t>(random.between(1, 8));
  config.max_attempts_max = static_cast<int>(random.between(1, 4));
  config.receive_max = random.chance(0.3) ? 1 + random.below(4) : 512;
  config.hwm = random.chance(0.2) ? 3 + random.below(20) : 1000;
  config.codec = random.chance(0.25);
  draw_features(request, config);
  apply_request(config, request);
  if (config.faults.has(Fault::retention))
    config.retention = random.spread(Duration{1000}, Duration{8000});
  return config;
}

std::string describe(const SimConfig& config) {
  std::string faults;
  for (std::size_t i = 0; i < kFaultCount; ++i)
    if (config.faults.has(static_cast<Fault>(i)))
      faults += fmt::format("{}{}", faults.empty() ? "" : ",", kFaultNames.at(i));
  const Limits& limits = config.limits;
  return fmt::format(
      "until {} ms, faults [{}] every {} ms, {} producers ({} jobs a request, every {} ms), {} "
      "workers (runs {} ms), latency {} ms, commits {} ms, lost after {} ms, grace {} ms, "
      "retention {} ms, clock {} ms, max_attempts {}, window {} jobs {} bytes, results {} rows, {} "
      "leases a "
      "worker, queue {} jobs, parked {} bytes, receive {}, hwm {}, codec {}",
      config.until.count(), faults, config.fault_mean.count(), config.producers,
      config.request_jobs_max, config.think_max.count(), config.workers, config.run_max.count(),
      config.latency_max.count(), config.commit_max.count(), config.lost_after.count(),
      config.resume_grace.count(), config.retention.count(), config.clock_max.count(),
      config.max_attempts_max, limits.window_jobs_max, limits.window_bytes_max,
      limits.results_rows_max, limits.leases_per_worker_max, limits.queue_jobs_max,
      limits.parked_bytes_max, config.receive_max, config.hwm, config.codec ? "on" : "off");
}

std::string command_of(const SimRequest& request, int mutant) {
  std::string command = fmt::format("millrace-sim --seed {}", request.seed);
  if (request.store == StoreKind::powerloss) command += " --store powerloss";
  if (request.synchronous != 2) command += " --synchronous normal";
  if (mutant != 0) command += fmt::format(" --mutant {}", mutant);
  if (request.until.count() != 0) command += fmt::format(" --until {}ms", request.until.count());
  if (request.producers != 0) command += fmt::format(" --producers {}", request.producers);
  if (request.workers != 0) command += fmt::format(" --workers {}", request.workers);
  if (!request.without.empty()) {
    command += " --without ";
    for (std::size_t i = 0; i < request.without.size(); ++i)
      command += fmt::format("{}{}", i == 0 ? "" : ",", to_string(request.without[i]));
  }
  return command;
}

}  // namespace millrace::simulation

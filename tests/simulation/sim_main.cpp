// millrace-sim: see README.md beside this file.

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <numeric>

#include "common/errors.h"
#include "common/util/instrument.h"
#include "common/util/log.h"
#include "common/util/mutants.h"
#include "tests/simulation/runner.h"
#include "tests/simulation/shrink.h"
#include "tests/simulation/sim_options.h"

namespace millrace::simulation {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kFailuresTold = 5;
constexpr std::uint64_t kMutantSeeds = 500;

std::vector<std::uint64_t> seeds_of(const SimOptions& options) {
  if (!options.listed.empty()) return options.listed;
  std::vector<std::uint64_t> seeds(options.seeds);
  std::iota(seeds.begin(), seeds.end(), options.request.seed);
  return seeds;
}

void print_rate(std::uint64_t seeds, Clock::time_point begin) {
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  fmt::print("{:.1f} s, {:.0f} seeds per second\n", seconds,
             static_cast<double>(seeds) / std::max(seconds, 0.001));
}

/// Tells of a failure what there is to tell, and how to see it again.
void explain(SimRequest request, const Failure& failure, int mutant, bool thoroughly) {
  request.seed = failure.seed;
  fmt::print("seed {} failed: {}\n", failure.seed, failure.message);
  fmt::print("  again: {}\n", command_of(request, mutant));
  if (!thoroughly) return;
  fmt::print("  {}\n", describe(draw_config(request)));
  const SimRequest small = shrink(request);
  fmt::print("  smaller: {}\n  {}\n", command_of(small, mutant), describe(draw_config(small)));
  std::fflush(stdout);
}

int run_many(const SimOptions& options) {
  const auto begin = Clock::now();
  const Tally tally = run_seeds(options.request, seeds_of(options), {.jobs = options.jobs});
  const auto ended = Clock::now();
  for (std::size_t i = 0; i < std::min(kFailuresTold, tally.failures.size()); ++i)
    explain(options.request, tally.failures[i], options.mutant, i == 0);
  print_rate(tally.seeds, begin + (Clock::now() - ended));
  fmt::print("{} seeds, {} failed\n", tally.seeds, tally.failures.size());
  return tally.failures.empty() ? kExitOk : kExitSomeFailed;
}

/// One seed in this process, so that a debugger sees it.
int run_one(const SimOptions& options) {
  const auto begin = Clock::now();
  fmt::print("{}\n", describe(draw_config(options.request)));
  const Verdict verdict = run_seed(options.request, options.trace);
  if (!verdict.ok) {
    if (!options.trace) fmt::print("{}", verdict.events);
    fmt::print("seed {} failed: {}\n", options.request.seed, verdict.message);
  }
  fmt::print("hash {:016x}\n", verdict.hash);
  print_rate(1, begin);
  fmt::print("1 seeds, {} failed\n", verdict.ok ? 0 : 1);
  return verdict.ok ? kExitOk : kExitSomeFailed;
}

int run_mutants(const SimOptions& options) {
  const auto begin = Clock::now();
  std::uint64_t seeds = 0;
  std::uint64_t missed = 0;
  SimOptions limits = options;
  limits.seeds = std::max(options.seeds, kMutantSeeds);
  for (const instrument::MutantText& mutant : instrument::kMutants) {
    instrument::choose_mutant(mutant.number);
    const Tally tally = run_seeds(options.request, seeds_of(limits),
                                  {.jobs = options.jobs, .failures_max = 1, .quiet = true});
    seeds += tally.seeds;
    if (tally.failures.empty()) {
      ++missed;
      fmt::print("mutant {} {}: NOT FOUND in {} seeds\n", mutant.number, mutant.name, tally.seeds);
    } else {
      const Failure& failure = tally.failures.front();
      fmt::print("mutant {} {}: found by seed {}: {}\n", mutant.number, mutant.name, failure.seed,
                 failure.message);
    }
    std::fflush(stdout);
  }
  print_rate(seeds, begin);
  fmt::print("{} mutants, {} not found\n", instrument::kMutants.size(), missed);
  fmt::print("{} seeds, {} failed\n", seeds, missed);
  return missed == 0 ? kExitOk : kExitSomeFailed;
}

int run(const SimOptions& options) {
  log::init(log::Level::error);
  if (options.list_mutants) {
    for (const instrument::MutantText& mutant : instrument::kMutants)
      fmt::print("{:>2} {}: {}\n", mutant.number, mutant.name, mutant.what);
    return kExitOk;
  }
  if (options.all_mutants) return run_mutants(options);
  instrument::choose_mutant(options.mutant);
  if (options.trace || (options.seeds == 1 && options.listed.empty())) return run_one(options);
  return run_many(options);
}

}  // namespace
}  // namespace millrace::simulation

int main(int argc, char** argv) {
  try {
    millrace::simulation::SimOptions options;
    if (const auto end = millrace::simulation::read_options(argc, argv, options)) return *end;
    return millrace::simulation::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "millrace-sim: {}\n", error.what());
    return 70;
  }
}

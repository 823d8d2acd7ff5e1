#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/simulation/run_seed.h"

namespace millrace::simulation {

struct Failure {
  std::uint64_t seed = 0;
  std::string message;
};

struct Tally {
  std::uint64_t seeds = 0;
  std::vector<Failure> failures;
};

struct RunOptions {
  std::size_t jobs = 1;             ///< processes
  std::uint64_t failures_max = 20;  ///< no further seeds are begun after so many
  bool quiet = false;               ///< the processes say nothing on stderr
};

/// Runs all `seeds` with the other settings of `request`, spread over processes. One that ends by
/// itself (a broken assertion) is a failure of its seed, and another takes its place.
[[nodiscard]] Tally run_seeds(const SimRequest& request, const std::vector<std::uint64_t>& seeds,
                              const RunOptions& options);

}  // namespace millrace::simulation

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tests/simulation/sim_config.h"

namespace millrace::simulation {

struct SimOptions {
  SimRequest request;  ///< of the first seed
  std::uint64_t seeds = 1;
  std::vector<std::uint64_t> listed;  ///< of --seeds-from, in place of a range
  std::uint64_t jobs = 1;
  int mutant = 0;
  bool all_mutants = false;
  bool list_mutants = false;
  bool trace = false;
};

/// Returns an exit code when the program should end now; what is wrong stands on stderr.
[[nodiscard]] std::optional<int> read_options(int argc, const char* const* argv,
                                              SimOptions& options);

}  // namespace millrace::simulation

#pragma once

#include <cstdint>
#include <string>

#include "tests/simulation/sim_config.h"

namespace millrace::simulation {

/// How one run ended.
struct Verdict {
  bool ok = true;
  std::string message;  ///< what was broken
  std::string events;   ///< the last ones before that
  std::uint64_t hash = 0;
};

/// Runs one seed in this process. A broken assertion of the code under test ends the process.
[[nodiscard]] Verdict run_seed(const SimRequest& request, bool print_trace = false);
/// Runs it in a process of its own, so that nothing can end this one. Says nothing on stderr.
[[nodiscard]] Verdict run_apart(const SimRequest& request);

}  // namespace millrace::simulation

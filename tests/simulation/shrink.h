#pragma once

#include "tests/simulation/sim_config.h"

namespace millrace::simulation {

/// A smaller run of the same seed that fails, too: classes of faults off, fewer peers, an earlier
/// end. Runs the seed some dozens of times.
[[nodiscard]] SimRequest shrink(SimRequest failing);

}  // namespace millrace::simulation

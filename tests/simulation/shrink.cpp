#include "tests/simulation/shrink.h"

#include "tests/simulation/run_seed.h"

namespace millrace::simulation {
namespace {

constexpr Duration kShortest{100};

bool fails(const SimRequest& request) { return !run_apart(request).ok; }

void drop_faults(SimRequest& failing) {
  const SimConfig config = draw_config(failing);
  for (std::size_t i = 0; i < kFaultCount; ++i) {
    const auto fault = static_cast<Fault>(i);
    if (!config.faults.has(fault)) continue;
    SimRequest smaller = failing;
    smaller.without.push_back(fault);
    if (fails(smaller)) failing = smaller;
  }
}

void drop_peers(SimRequest& failing) {
  const SimConfig config = draw_config(failing);
  for (std::uint64_t count = 1; count < config.producers; ++count) {
    SimRequest smaller = failing;
    smaller.producers = count;
    if (!fails(smaller)) continue;
    failing = smaller;
    break;
  }
  for (std::uint64_t count = 1; count < config.workers; ++count) {
    SimRequest smaller = failing;
    smaller.workers = count;
    if (!fails(smaller)) continue;
    failing = smaller;
    break;
  }
}

void end_earlier(SimRequest& failing) {
  Duration fine{0};
  Duration bad = draw_config(failing).until;
  while (bad - fine > std::max(kShortest, bad / 16)) {
    SimRequest smaller = failing;
    smaller.until = (fine + bad) / 2;
    if (fails(smaller)) {
      failing = smaller;
      bad = smaller.until;
    } else {
      fine = smaller.until;
    }
  }
}

}  // namespace

SimRequest shrink(SimRequest failing) {
  end_earlier(failing);
  drop_faults(failing);
  drop_peers(failing);
  end_earlier(failing);
  return failing;
}

}  // namespace millrace::simulation

#pragma once

#include <ctime>

#include "common/types.h"

namespace millrace {

/// Reads both clocks. CLOCK_MONOTONIC for leases and timeouts, CLOCK_REALTIME for what is stored.
[[nodiscard]] inline Now read_clocks() {
  const auto read = [](clockid_t id) {
    timespec ts{};
    clock_gettime(id, &ts);
    return Duration{ts.tv_sec * 1000 + ts.tv_nsec / 1'000'000};
  };
  return {Instant{read(CLOCK_MONOTONIC)}, Time{read(CLOCK_REALTIME)}};
}

}  // namespace millrace

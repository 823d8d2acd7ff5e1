#pragma once

// What no event tells of a child while it runs a job. The loop's thread.

#include <chrono>
#include <optional>
#include <string>

#include "worker/process/child.h"

namespace millrace::worker {

/// How often pools look.
inline constexpr Duration kChildLook{250};

/// Which limit the child has passed with its job, e.g. `too_many_processes: 60, the limit is 50`;
/// nothing while all is well. `running`: for how long the job runs.
[[nodiscard]] std::optional<std::string> limit_passed(const Child& child, const ChildLimits& limits,
                                                      std::chrono::steady_clock::duration running);

}  // namespace millrace::worker

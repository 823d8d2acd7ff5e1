#pragma once

#include <sys/types.h>

#include <array>
#include <string>
#include <vector>

#include "common/errors.h"
#include "worker/process/nursery_messages.h"

namespace millrace::worker {

/// Where exec looks for `program`: itself when it has a slash, else in each folder of PATH.
[[nodiscard]] std::vector<std::string> program_candidates(const std::string& program);

/// Starts a program from the nursery: fork and exec. The child leads a session and a process group
/// of its own, adopts what its descendants leave behind, dies with the nursery, has `fds` as 0, 1
/// and 2 and nothing else open, default signals, no core file, the limits and the user it asks for,
/// and no way to more privileges. `self` is an open descriptor of this very program.
///
/// Waits until the program runs or could not be started; the error says which step failed.
[[nodiscard]] Result<pid_t> spawn_child(const SpawnRequest& request, const std::array<int, 3>& fds,
                                        int self);

}  // namespace millrace::worker

#pragma once

// Who descends from whom, and what state they are in, by /proc. Any thread.

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace millrace {

/// The children of a process, the dead ones that nobody waited for included. Empty when there is no
/// such process.
[[nodiscard]] std::vector<pid_t> children_of(pid_t pid);

/// `root` and what descends from it, parents first; ends when there are `max` or more.
[[nodiscard]] std::vector<pid_t> tree_of(pid_t root, std::size_t max = SIZE_MAX);

/// Threads of all processes of a user, which is what RLIMIT_NPROC counts.
[[nodiscard]] std::size_t threads_of_user(uid_t user);

/// There is no such process, or it has ended and only was not waited for.
[[nodiscard]] bool is_dead(pid_t pid);

/// Its pages in memory; 0 when there is no such process.
[[nodiscard]] std::uint64_t resident_bytes(pid_t pid);

/// Kills everything that descends from `root`, and `root`; processes that are forked meanwhile too,
/// as far as they still descend from it. Waits for nothing.
void kill_tree(pid_t root);

}  // namespace millrace

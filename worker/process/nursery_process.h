#pragma once

namespace millrace::worker {

/// What the nursery does, in its own process: starts children, says how they end, kills. Returns
/// when the worker's end of `socket` is closed and nothing it started or adopted lives any more;
/// the process is to end then, by _exit().
[[nodiscard]] int run_nursery(int socket);

}  // namespace millrace::worker

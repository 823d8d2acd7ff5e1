#pragma once

#include <string>

namespace millrace::bench {

/// The benchmark as a worker, in a process of its own: its kind `noop` does nothing and returns
/// nothing. When the queue is drained it writes to `latencies`, a line each, how many milliseconds
/// after its stamp each job with a stamp reached its handler. Returns the exit code.
[[nodiscard]] int run_own_worker(const std::string& broker, const std::string& latencies);

/// A payload of about 100 bytes with the time of now; CLOCK_MONOTONIC is the same in all processes.
[[nodiscard]] std::string stamped_payload();

}  // namespace millrace::bench

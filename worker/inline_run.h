#pragma once

#include <millrace/handler.h>

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace millrace::worker {

/// Runs jobs one after the other on the calling thread, with no broker, executor or queue around
/// them: what all ways to run them are compared with. stdin holds the number of jobs to run before
/// the clock starts, then a payload (JSON text) a line; those first runs take the first payloads.
/// Handlers see an empty stdin, what they print goes to stderr, and their output and further jobs
/// are dropped. Blocks. Returns {"jobs","failed","seconds","cpu_s","delayed_s","memory_bytes",
/// "error"}: `delayed_s` is how long it waited for a CPU, `error` the first one or null.
[[nodiscard]] nlohmann::json run_inline(const std::string& kind, const Handler& handler);

}  // namespace millrace::worker

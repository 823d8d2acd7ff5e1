#pragma once

// How the end of a child is told to people. Pure.

#include <string>

#include "worker/process/nursery_messages.h"

namespace millrace::worker {

/// e.g. `killed by signal 11 (SIGSEGV)` or `it ended with status 3`.
[[nodiscard]] std::string status_text(int status);

/// `crash: killed by signal 11 (SIGSEGV); CPU 0.02 s, 12 MiB; stderr: …`. `error_tail` may be
/// empty.
[[nodiscard]] std::string crash_text(const NurseryReport& report, const std::string& error_tail);

/// `first`, and the last lines of stderr when there are any.
[[nodiscard]] std::string with_errors(std::string first, const std::string& error_tail);

}  // namespace millrace::worker

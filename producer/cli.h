#pragma once

#include "common/util/signals.h"

namespace millrace::producer {

/// Reads the command line, carries out its command and returns the program's exit code.
[[nodiscard]] int run_cli(int argc, const char* const* argv, const Signals& signals);

}  // namespace millrace::producer

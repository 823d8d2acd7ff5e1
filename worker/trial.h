#pragma once

// How `millrace-producer compare` makes a worker program run one kind in one way, whatever the
// program says of its kinds, its broker and its pools. It asks through a variable, so that programs
// built with the library, which have options of their own, can be asked as well.

#include <optional>
#include <string>
#include <string_view>

#include "worker/host.h"

namespace millrace::worker {

/// `KIND inline` or `KIND thread|process|loop[:SIZE] ENDPOINT`.
inline constexpr const char* kTrialVariable = "MILLRACE_COMPARE";

struct Trial {
  std::string kind;
  std::optional<ExecutorChoice> choice = {};  ///< none: inline
  std::string endpoint = {};
};

/// Error: usage, for what no producer of this version writes.
[[nodiscard]] Result<Trial> parse_trial(std::string_view text);

/// Does what the variable asks for, if it is set; called while this process has one thread. After
/// an inline run, and when the kind cannot run that way, it returns the exit code. Otherwise
/// `options` and `registry` are changed so that the host runs that kind alone, in that way.
///
/// stdout tells the producer, a JSON object a line: `{"trial":1}` at once, then, when the program
/// ends here, `{"refused":WHY,"unknown":BOOL}` or what run_inline() says.
[[nodiscard]] std::optional<int> begin_trial(HostOptions& options, Registry& registry);

}  // namespace millrace::worker

#pragma once

#include <optional>
#include <string>

#include "worker/registry.h"

namespace millrace::worker {

/// The variable that makes a program a child: the kind whose jobs it runs.
inline constexpr const char* kChildVariable = "MILLRACE_CHILD";

/// The kind whose jobs this process is to run; nothing: it is no child.
[[nodiscard]] std::optional<std::string> child_kind();

/// What a child of a worker does: runs the jobs that come on stdin, one after the other on this
/// thread, and answers on stdout, until stdin is closed. Handlers see an empty stdin, and what they
/// print goes to stderr. Returns the exit code.
[[nodiscard]] int serve_child(const Registry& registry, const std::string& kind);

}  // namespace millrace::worker

#pragma once

// What the operator says about child processes, and what follows from it.

#include <cstdint>
#include <string>
#include <vector>

#include "common/errors.h"
#include "common/limits.h"
#include "common/util/options.h"
#include "worker/placement.h"
#include "worker/process/process_spec.h"

namespace millrace::worker {

/// 0 is no limit, everywhere.
struct ChildSettings {
  ByteSize memory{1024 * kMiB};        ///< of heap and private pages, each process
  ByteSize memory_growth{256 * kMiB};  ///< of a child since its first job
  Duration cpu_time{};                 ///< of each process over its life
  std::uint64_t files = 256;           ///< open at once, each process
  std::uint64_t processes = 256;       ///< of one job
  std::uint64_t jobs_per_child = 0;
  std::string user = {};  ///< who children are when the worker is root; empty: `nobody`
};

/// Who children become. Errors: bad_config, when this worker is root and there is no such user, or
/// it is root too; or when it is not root and a user was named.
[[nodiscard]] Result<ChildUser> find_child_user(const std::string& name);

/// How the jobs of a kind that `plan` puts into processes are run.
[[nodiscard]] ProcessSpec make_process_spec(const PoolPlan& plan, const Kind& kind,
                                            const ChildSettings& settings, ChildUser user);

/// The words with which this program was started.
[[nodiscard]] std::vector<std::string> own_command_line();

/// Error: bad_config, when there is no such program that may be run; with `whole_path` also when it
/// has to be looked for in PATH.
[[nodiscard]] Status check_program(const std::string& program, bool whole_path);

/// True while this process has one thread, so that it may fork.
[[nodiscard]] bool has_one_thread();

}  // namespace millrace::worker

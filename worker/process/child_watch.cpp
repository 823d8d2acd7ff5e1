#include "worker/process/child_watch.h"

#include <fmt/format.h>

#include "common/limits.h"
#include "common/util/process_tree.h"

namespace millrace::worker {
namespace {

constexpr std::uint64_t kErrorBytesMax = 16 * kMiB;

}  // namespace

std::optional<std::string> limit_passed(const Child& child, const ChildLimits& limits,
                                        std::chrono::steady_clock::duration running) {
  if (child.error_bytes() > kErrorBytesMax)
    return fmt::format("output_too_large: more than {} MiB on stderr", kErrorBytesMax / kMiB);
  // A job that ends at once is not worth a look at its processes.
  if (limits.processes == 0 || running < kChildLook) return std::nullopt;
  const std::size_t count = tree_of(child.pid(), limits.processes).size();
  if (count < limits.processes) return std::nullopt;
  return fmt::format("too_many_processes: {}, the limit is {}", count, limits.processes);
}

}  // namespace millrace::worker

#include "common/limits.h"

#include <fmt/format.h>

#include <string_view>

namespace millrace {

Status check(const Limits& limits) {
  struct Range {
    std::string_view name;
    std::uint64_t value;
    std::uint64_t least;
    std::uint64_t most;
  };
  // A frame holds 4 MiB and an array 4,096 items; a message must fit whatever it carries.
  const Range ranges[] = {
      {"payload_bytes_max", limits.payload_bytes_max, 1, 2 * kMiB},
      {"result_bytes_max", limits.result_bytes_max, 1, 2 * kMiB},
      {"error_bytes_max", limits.error_bytes_max, 64, 64 * kKiB},
      {"enqueue_jobs_max", limits.enqueue_jobs_max, 1, kArrayItemsMax},
      {"enqueue_bytes_max", limits.enqueue_bytes_max, 1, 2 * kMiB},
      {"leases_per_worker_max", limits.leases_per_worker_max, 1, kArrayItemsMax},
      {"queue_jobs_max", limits.queue_jobs_max, 1, 1'000'000'000},
      {"lanes_max", limits.lanes_max, 1, kArrayItemsMax},
      {"sessions_max", limits.sessions_max, 1, kArrayItemsMax},
      {"parked_bytes_max", limits.parked_bytes_max, kMiB, 1024 * kMiB},
      {"window_jobs_max", limits.window_jobs_max, 8, 1'000'000},
      {"window_bytes_max", limits.window_bytes_max, 64 * kKiB, 1024 * kMiB},
      {"results_rows_max", limits.results_rows_max, 1, 100'000},
      {"results_bytes_max", limits.results_bytes_max, 64 * kKiB, 64 * kMiB},
      {"output_rows_max", limits.output_rows_max, 1, 10'000'000},
      {"output_bytes_max", limits.output_bytes_max, 1, 1024 * kMiB},
      {"output_item_bytes_max", limits.output_item_bytes_max, 1, 2 * kMiB},
      {"waits_per_session_max", limits.waits_per_session_max, 1, 100'000},
  };
  for (const Range& range : ranges)
    if (range.value < range.least || range.value > range.most)
      return fail(ErrorCode::bad_config, fmt::format("limits.{} is {}: use {} to {}", range.name,
                                                     range.value, range.least, range.most));
  return {};
}

}  // namespace millrace

#pragma once

#include <cstdint>

#include "producer/context.h"

namespace millrace::producer {

/// Waits until a batch of `count` replays has ended, compares each with its original, prints a row
/// for each that ended otherwise and a sum. The exit code: 1 on any difference.
[[nodiscard]] int verify_replayed(Context& context, Client& client, BatchId batch,
                                  std::uint64_t count);

}  // namespace millrace::producer

#pragma once

#include <functional>

#include "producer/client.h"

namespace millrace::producer {

/// Gives `row` what the runs of a job left behind after `from`, in order; with `follow` also what
/// they will, until the job has ended. Returns where to go on. `cursor`, which may be null, is kept
/// at that place all the while, so that it is known after an error too. An error of `row` ends it.
/// Blocks. Errors: as Client, not_found.
[[nodiscard]] Result<OutputSeq> stream_output(
    Client& client, JobId job, OutputSeq from, bool follow,
    const std::function<Status(const protocol::OutputRow&)>& row, OutputSeq* cursor = nullptr);

}  // namespace millrace::producer

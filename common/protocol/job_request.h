#pragma once

#include "common/job_request.h"
#include "common/protocol/messages.h"

namespace millrace::protocol {

/// What is said of a job in a program, as it goes over the wire.
[[nodiscard]] NewJob to_new_job(JobRequest job);

}  // namespace millrace::protocol

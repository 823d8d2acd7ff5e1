#include "common/protocol/job_request.h"

#include <utility>

namespace millrace::protocol {

NewJob to_new_job(JobRequest job) {
  return {.kind = std::move(job.kind),
          .payload = std::move(job.payload),
          .priority = job.priority,
          .max_attempts = job.max_attempts,
          .delay = job.delay,
          .run_at = job.run_at,
          .timeout = job.timeout,
          .backoff = {},
          .retry = std::move(job.retry),
          .crashes_max = job.crashes_max,
          .expires_in = job.expires_in,
          .expires_at = job.expires_at,
          .unique_key = std::move(job.unique.key),
          .unique_scope = job.unique.scope,
          .unique_ttl = job.unique.ttl,
          .on_conflict = job.unique.on_conflict};
}

}  // namespace millrace::protocol

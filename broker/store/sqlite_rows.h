#pragma once

// Columns of the tables and how a row becomes a value; shared by the store and the query side.

#include <string>

#include "broker/store/sqlite.h"

namespace millrace::broker {

// As macros, because SQL text is put together by the compiler.

// A job is one row of `job` that never changes. How it stands is its row of `status`; without one
// it is as it was enqueued. A lease in `lease` that is above the one of the status was given since,
// and is then the first (lease_table.h). Every reader sees the three as one:
#define MR_JOBS "job LEFT JOIN status ON status.id = job.id LEFT JOIN lease ON lease.job = job.id "
#define MR_LEASED_SINCE "lease.lease > coalesce(status.lease, 0)"
#define MR_STATE "iif(" MR_LEASED_SINCE ", 3, coalesce(status.state, 2))"
#define MR_WORKER "iif(" MR_LEASED_SINCE ", lease.worker, status.worker)"

// What is NULL for want of a row of `status` reads as 0 or empty.
#define MR_JOB_COLUMNS(state, lease, worker, deliveries)                                          \
  "job.id, " state                                                                                \
  " AS state, job.lane, job.priority, job.batch, job.replay_of, "                                 \
  "job.max_attempts, job.timeout, job.backoff, job.absolute, job.enqueued_at, " lease ", " worker \
  ", " deliveries                                                                                 \
  ", status.attempts, status.crashes, status.attempts_base, "                                     \
  "status.crashes_base, coalesce(status.run_at, job.enqueued_at), status.started_at, "            \
  "status.finished_at, status.finish_seq, job.payload_bytes, job.checksum AS checksum, "          \
  "status.error, job.crashes_max, job.retry, job.expires_at, job.unique_key, "                    \
  "job.unique_scope, status.unique_held"
/// Of MR_JOBS.
#define MR_JOB_FIXED_COLUMNS                                                                 \
  MR_JOB_COLUMNS(MR_STATE, "iif(" MR_LEASED_SINCE ", lease.lease, status.lease)", MR_WORKER, \
                 "coalesce(status.deliveries, 0) + coalesce(" MR_LEASED_SINCE ", 0)")
/// Of jobs that cannot be leased since, with their row of `status` only.
#define MR_JOB_WAITING_COLUMNS \
  MR_JOB_COLUMNS("coalesce(status.state, 2)", "status.lease", "status.worker", "status.deliveries")
/// The column of what is selected after one of the two: the payload.
inline constexpr int kJobPayloadColumn = 31;
/// The payload if it is small.
#define MR_PAYLOAD_SMALL "iif(job.payload_bytes <= 1024, job.payload, NULL)"
static_assert(kPayloadInlineMax == 1024, "MR_PAYLOAD_SMALL says it too");
#define MR_JOB_SMALL "SELECT " MR_JOB_FIXED_COLUMNS ", " MR_PAYLOAD_SMALL " FROM " MR_JOBS
#define MR_WAITING_SMALL "SELECT " MR_JOB_WAITING_COLUMNS ", " MR_PAYLOAD_SMALL " FROM "
/// With the payload in any case.
#define MR_JOB_WHOLE "SELECT " MR_JOB_FIXED_COLUMNS ", job.payload FROM " MR_JOBS

#define MR_LANE_COLUMNS                                                                  \
  "id, queue, kind, blocked, scheduled, ready, leased, done, dead, cancelled, expired, " \
  "done_bytes, dead_bytes, cancelled_bytes, expired_bytes"
#define MR_BATCH_COLUMNS \
  "id, sealed, owner, total, open, done, dead, cancelled, expired, created_at"
#define MR_WORKER_COLUMNS "id, session, name, host, pid, connected_at, left_at"
#define MR_KIND_COLUMNS \
  "name, max_attempts, crashes_max, timeout, retry, not_replayable, by_operator"

enum class PayloadRead : std::uint8_t { none, small, whole };

/// Reads a row whose first columns are MR_JOB_FIXED_COLUMNS (or …WAITING…) and the payload, as far
/// as `payload` says it was asked for; verifies the checksum whenever the payload was read. Throws
/// corrupt.
[[nodiscard]] JobRecord read_job(const sqlite::Rows& rows, PayloadRead payload);
[[nodiscard]] LaneRow read_lane(const sqlite::Rows& rows);
[[nodiscard]] BatchRow read_batch(const sqlite::Rows& rows);
[[nodiscard]] WorkerRow read_worker(const sqlite::Rows& rows);
[[nodiscard]] KindRow read_kind(const sqlite::Rows& rows);
/// queue, key, job, until.
[[nodiscard]] UniqueRow read_unique(const sqlite::Rows& rows);

/// Throws corrupt unless `state` is one.
[[nodiscard]] JobState checked_state(JobId job, std::int64_t state);
/// Throws corrupt unless `type` is one.
[[nodiscard]] OutputType checked_type(JobId job, std::int64_t type);
/// Throws corrupt unless `checksum` is that of the result.
void check_result(JobId job, const Payload& result, std::int64_t checksum);
[[noreturn]] void fail_corrupt(JobId job, const char* part);

}  // namespace millrace::broker

#pragma once

// Columns of the tables and how a row becomes a value; shared by the store and the query side.

#include <string>

#include "broker/store/sqlite.h"

namespace millrace::broker {

// As macros, because SQL text is put together by the compiler.
#define MR_JOB_FIXED_COLUMNS                                                                 \
  "id, state, lane, priority, batch, replay_of, max_attempts, timeout, backoff, absolute, "  \
  "enqueued_at, lease, worker, deliveries, attempts, crashes, attempts_base, crashes_base, " \
  "run_at, started_at, finished_at, finish_seq, payload_bytes, checksum, error, "            \
  "crashes_max, retry, expires_at, unique_key, unique_scope, unique_held"
/// The column of what is selected after MR_JOB_FIXED_COLUMNS: the payload.
inline constexpr int kJobPayloadColumn = 31;
/// With the payload if it is small.
#define MR_JOB_SMALL \
  "SELECT " MR_JOB_FIXED_COLUMNS ", iif(payload_bytes <= 1024, payload, NULL) FROM job "
/// With the payload in any case.
#define MR_JOB_WHOLE "SELECT " MR_JOB_FIXED_COLUMNS ", payload FROM job "
static_assert(kPayloadInlineMax == 1024, "MR_JOB_SMALL says it too");

#define MR_LANE_COLUMNS                                                                  \
  "id, queue, kind, blocked, scheduled, ready, leased, done, dead, cancelled, expired, " \
  "done_bytes, dead_bytes, cancelled_bytes, expired_bytes"
#define MR_BATCH_COLUMNS \
  "id, sealed, owner, total, open, done, dead, cancelled, expired, created_at"
#define MR_WORKER_COLUMNS "id, session, name, host, pid, connected_at, left_at"
#define MR_KIND_COLUMNS \
  "name, max_attempts, crashes_max, timeout, retry, not_replayable, by_operator"

enum class PayloadRead : std::uint8_t { none, small, whole };

/// Reads a row whose first columns are MR_JOB_FIXED_COLUMNS and the payload, as far as `payload`
/// says it was asked for; verifies the checksum whenever the payload was read. Throws corrupt.
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

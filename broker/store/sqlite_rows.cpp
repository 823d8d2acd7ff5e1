#include "broker/store/sqlite_rows.h"

#include <fmt/format.h>

#include "broker/store/checksum.h"

namespace millrace::broker {
namespace {

constexpr int kErrorColumn = 24;

JobSpec read_spec(JobId job, const sqlite::Rows& rows) {
  JobSpec spec;
  spec.lane = rows.id<LaneId>(2);
  spec.priority = rows.small(3);
  spec.batch = rows.id<BatchId>(4);
  spec.replay_of = rows.id<JobId>(5);
  spec.max_attempts = rows.small(6);
  spec.timeout = rows.duration(7);
  spec.backoff = rows.duration(8);
  spec.absolute = rows.boolean(9);
  spec.enqueued_at = rows.time(10);
  spec.crashes_max = rows.small(25);
  spec.retry = rows.text(26);
  spec.expires_at = rows.time(27);
  spec.unique_key = rows.text(28);
  const std::int64_t scope = rows.integer(29);
  if (scope < 0 || scope > static_cast<std::int64_t>(UniqueScope::ttl))
    fail_corrupt(job, "unique scope");
  spec.unique_scope = static_cast<UniqueScope>(scope);
  return spec;
}

JobStatus read_status(JobId job, const sqlite::Rows& rows) {
  JobStatus status;
  status.state = checked_state(job, rows.integer(1));
  status.lease = rows.id<LeaseId>(11);
  status.worker = rows.id<WorkerId>(12);
  status.deliveries = rows.small(13);
  status.run_at = rows.time(18);
  if (rows.is_null(kErrorColumn)) return status;  // without a row of `status` the rest is empty
  status.attempts = rows.small(14);
  status.crashes = rows.small(15);
  status.attempts_base = rows.small(16);
  status.crashes_base = rows.small(17);
  status.started_at = rows.time(19);
  status.finished_at = rows.time(20);
  status.finish_seq = rows.id<FinishSeq>(21);
  status.error = rows.text(kErrorColumn);
  status.unique_held = rows.boolean(30);
  return status;
}

}  // namespace

void fail_corrupt(JobId job, const char* part) {
  throw StoreError(
      ErrorCode::corrupt,
      fmt::format("the stored {} of job {} does not match its checksum: the disk or the "
                  "memory of this machine changed it; restore a backup",
                  part, job.value));
}

JobState checked_state(JobId job, std::int64_t state) {
  if (state < 0 || state >= static_cast<std::int64_t>(kJobStateCount)) fail_corrupt(job, "state");
  return static_cast<JobState>(state);
}

OutputType checked_type(JobId job, std::int64_t type) {
  if (type < 0 || type > static_cast<std::int64_t>(OutputType::chunk)) fail_corrupt(job, "output");
  return static_cast<OutputType>(type);
}

void check_result(JobId job, const Payload& result, std::int64_t checksum) {
  if (!result.empty() && result_checksum(job, result) != checksum) fail_corrupt(job, "result");
}

JobRecord read_job(const sqlite::Rows& rows, PayloadRead payload) {
  JobRecord job;
  job.id = rows.id<JobId>(0);
  job.spec = read_spec(job.id, rows);
  job.status = read_status(job.id, rows);
  job.payload_bytes = rows.natural(22);
  job.payload = rows.payload(kJobPayloadColumn);
  const bool was_read = payload == PayloadRead::whole ||
                        (payload == PayloadRead::small && job.payload_bytes <= kPayloadInlineMax);
  if (was_read && (job.payload.size() != job.payload_bytes ||
                   job_checksum(job.id, job.spec, job.payload) != rows.integer(23)))
    fail_corrupt(job.id, "row");
  return job;
}

LaneRow read_lane(const sqlite::Rows& rows) {
  LaneRow lane;
  lane.id = rows.id<LaneId>(0);
  lane.queue = rows.text(1);
  lane.kind = rows.text(2);
  for (std::size_t i = 0; i < kJobStateCount; ++i)
    lane.counts.at(i) = rows.natural(static_cast<int>(i) + 3);
  constexpr auto kFirstFinal = static_cast<std::size_t>(JobState::done);
  for (std::size_t i = kFirstFinal; i < kJobStateCount; ++i)
    lane.bytes.at(i) = rows.natural(static_cast<int>(i - kFirstFinal) + 11);
  return lane;
}

BatchRow read_batch(const sqlite::Rows& rows) {
  BatchRow batch;
  batch.id = rows.id<BatchId>(0);
  batch.sealed = rows.boolean(1);
  batch.owner = rows.text(2);
  batch.total = rows.natural(3);
  batch.open = rows.natural(4);
  batch.done = rows.natural(5);
  batch.dead = rows.natural(6);
  batch.cancelled = rows.natural(7);
  batch.expired = rows.natural(8);
  batch.created_at = rows.time(9);
  return batch;
}

WorkerRow read_worker(const sqlite::Rows& rows) {
  WorkerRow worker;
  worker.id = rows.id<WorkerId>(0);
  worker.session = rows.text(1);
  worker.name = rows.text(2);
  worker.host = rows.text(3);
  worker.pid = rows.integer(4);
  worker.connected_at = rows.time(5);
  worker.left_at = rows.time(6);
  return worker;
}

KindRow read_kind(const sqlite::Rows& rows) {
  KindRow kind;
  kind.name = rows.text(0);
  kind.options.max_attempts = rows.small(1);
  kind.options.crashes_max = rows.small(2);
  kind.options.timeout = rows.duration(3);
  kind.options.retry = rows.text(4);
  kind.options.not_replayable = rows.boolean(5);
  kind.by_operator = rows.boolean(6);
  return kind;
}

UniqueRow read_unique(const sqlite::Rows& rows) {
  return {rows.text(0), rows.text(1), rows.id<JobId>(2), rows.time(3)};
}

}  // namespace millrace::broker

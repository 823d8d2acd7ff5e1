#include "broker/store/sqlite_rows.h"

#include <fmt/format.h>

#include "broker/store/checksum.h"

namespace millrace::broker {
namespace {

JobSpec read_spec(const sqlite::Rows& rows) {
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
  return spec;
}

JobStatus read_status(JobId job, const sqlite::Rows& rows) {
  JobStatus status;
  status.state = checked_state(job, rows.integer(1));
  status.lease = rows.id<LeaseId>(11);
  status.worker = rows.id<WorkerId>(12);
  status.deliveries = rows.small(13);
  status.attempts = rows.small(14);
  status.crashes = rows.small(15);
  status.attempts_base = rows.small(16);
  status.crashes_base = rows.small(17);
  status.run_at = rows.time(18);
  status.started_at = rows.time(19);
  status.finished_at = rows.time(20);
  status.finish_seq = rows.id<FinishSeq>(21);
  status.error = rows.text(24);
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

void check_result(JobId job, const Payload& result, std::int64_t checksum) {
  if (!result.empty() && result_checksum(job, result) != checksum) fail_corrupt(job, "result");
}

JobRecord read_job(const sqlite::Rows& rows, PayloadRead payload) {
  JobRecord job;
  job.id = rows.id<JobId>(0);
  job.spec = read_spec(rows);
  job.status = read_status(job.id, rows);
  job.payload_bytes = rows.natural(22);
  job.payload = rows.payload(25);
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

}  // namespace millrace::broker

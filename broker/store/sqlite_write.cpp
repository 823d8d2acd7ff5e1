// SqliteStore: what one transaction writes.

#include <fmt/format.h>

#include "broker/store/checksum.h"
#include "broker/store/sqlite_statements.h"
#include "common/util/instrument.h"

namespace millrace::broker {
namespace {

/// Ids as bytes, lowest first; must outlive the execution that binds it.
std::string pack(const std::vector<JobId>& ids) {
  std::string bytes;
  bytes.reserve(ids.size() * 8);
  for (const JobId id : ids)
    for (int shift = 0; shift < 64; shift += 8)
      bytes.push_back(static_cast<char>(id.value >> shift));
  return bytes;
}

std::optional<FinishSeq> or_null(FinishSeq seq) {
  return seq ? std::optional<FinishSeq>(seq) : std::nullopt;
}

std::optional<std::string_view> or_null(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional<std::string_view>(text);
}

std::optional<sqlite::Blob> blob_or_null(const std::string& bytes) {
  return bytes.empty() ? std::nullopt : std::optional(sqlite::Blob{bytes});
}

/// Nothing has happened to it but `deliveries` leases.
bool is_untouched(const JobStatus& status, int deliveries) {
  return status.deliveries == deliveries && static_cast<bool>(status.lease) == (deliveries > 0) &&
         status.attempts == 0 && status.crashes == 0 && status.attempts_base == 0 &&
         status.crashes_base == 0 && status.started_at == Time{} && status.finished_at == Time{} &&
         !status.finish_seq && status.error.empty() && !status.unique_held;
}

/// All there is to say of it without a row of `status`.
bool needs_no_status(const JobInsert& job) {
  const JobStatus& status = job.status;
  if (job.spec.expires_at != Time{} || status.run_at != job.spec.enqueued_at) return false;
  if (status.state == JobState::leased) return is_untouched(status, 1);
  return status.state == JobState::ready && !status.worker && is_untouched(status, 0);
}

/// Its row of `lease` says it all.
bool is_first_lease(const JobUpdate& job) {
  return job.plain && job.from_state == JobState::ready && !job.from_lease &&
         job.status.state == JobState::leased && !job.result && is_untouched(job.status, 1);
}

bool is_first_done(const JobUpdate& job) {
  const JobStatus& status = job.status;
  return job.plain && job.from_state == JobState::leased && status.state == JobState::done &&
         status.lease == job.from_lease && status.deliveries == 1 && status.attempts == 1 &&
         status.crashes == 0 && status.attempts_base == 0 && status.crashes_base == 0 &&
         status.error.empty() && job.result;
}

/// NULL, as the result itself, when there is none.
std::optional<std::int64_t> checksum_of(JobId job, const Payload& result) {
  return result.empty() ? std::nullopt : std::optional(result_checksum(job, result));
}

[[noreturn]] void fail_guard(const JobUpdate& job) {
  throw StoreError(
      ErrorCode::internal,
      fmt::format("job {} is not `{}` under lease {}, so it cannot become `{}`", job.id.value,
                  to_string(job.from_state), job.from_lease.value, to_string(job.status.state)));
}

}  // namespace

void SqliteStore::apply(const WriteBatch& batch) {
  sqlite::Transaction transaction(connection_, sqlite::Transaction::Kind::write);
  statements_->leases.begin();
  statements_->ready.begin();
  WorkerId last_worker;
  for (const WorkerRow& worker : batch.workers) last_worker = std::max(last_worker, worker.id);
  fence(batch, last_worker);
  write_names(batch);
  write_requests(batch);
  write_unique(batch);
  write_jobs(batch);
  apply_deltas(batch.lane_deltas);
  instrument::crash_point("broker.in_transaction");
  transaction.commit();
  statements_->leases.committed();
}

void SqliteStore::fence(const WriteBatch& batch, WorkerId last_worker) {
  if (statements_->fence.execute(epoch_, batch.last_job, batch.last_finish, last_worker,
                                 batch.last_output) == 1)
    return;
  throw StoreError(
      ErrorCode::store_locked,
      fmt::format("another broker has taken over `{}` (epoch {} is over)", path_, epoch_));
}

void SqliteStore::write_names(const WriteBatch& batch) {
  for (const LaneRow& lane : batch.lanes)
    statements_->insert_lane.execute(lane.id, lane.queue, lane.kind);
  for (const QueueRow& queue : batch.queues)
    statements_->put_queue.execute(queue.name, static_cast<int>(queue.state), queue.paused,
                                   queue.generation);
  for (const BatchRow& row : batch.batches)
    statements_->put_batch.execute(row.id, row.sealed, sqlite::Blob{row.owner}, row.total, row.open,
                                   row.done, row.dead, row.cancelled, row.expired, row.created_at);
  for (const WorkerRow& row : batch.workers)
    statements_->put_worker.execute(row.id, sqlite::Blob{row.session}, row.name, row.host, row.pid,
                                    row.connected_at, row.left_at);
  for (const KindRow& row : batch.kinds) {
    const protocol::KindOptions& options = row.options;
    if (row.gone) {
      statements_->delete_kind.execute(row.name);
    } else {
      statements_->put_kind.execute(row.name, options.max_attempts, options.crashes_max,
                                    options.timeout, or_null(options.retry), options.not_replayable,
                                    row.by_operator);
    }
  }
}

void SqliteStore::write_requests(const WriteBatch& batch) {
  for (const RequestRow& row : batch.requests) {
    const std::string origins = pack(row.replay_of);
    const std::string ids = pack(row.ids);
    statements_->insert_request.execute(row.id.prefix, row.id.counter, row.body_hash, row.batch,
                                        row.first, row.count, row.at, blob_or_null(origins),
                                        blob_or_null(ids));
  }
}

void SqliteStore::write_unique(const WriteBatch& batch) {
  for (const UniqueRow& row : batch.unique_released)
    if (statements_->release_unique.execute(row.queue, row.key, row.job, row.until) != 1)
      throw StoreError(
          ErrorCode::internal,
          fmt::format("unique key `{}` of queue {} is not held by job {} until {}", row.key,
                      row.queue, row.job.value, row.until.time_since_epoch().count()));
  for (const UniqueRow& row : batch.unique_acquired)
    statements_->acquire_unique.execute(row.queue, row.key, row.job, row.until);
}

void SqliteStore::write_jobs(const WriteBatch& batch) {
  insert_jobs(batch.inserts);
  update_jobs(batch.updates);
  statements_->ready.write();
  statements_->leases.write();
  for (const AttemptRow& row : batch.attempts)
    statements_->insert_attempt.execute(row.job, row.attempt, row.worker, row.started_at,
                                        row.finished_at, row.outcome, row.error);
  for (const OutputRow& row : batch.outputs)
    statements_->insert_output.execute(row.seq, row.job, row.lease, row.n, row.attempt,
                                       static_cast<int>(row.type), row.at, row.data);
}

void SqliteStore::insert_jobs(const std::vector<JobInsert>& jobs) {
  statements_->insert_jobs.insert(
      jobs, [](sqlite::Statement& statement, int parameter, const JobInsert& job) {
        const JobSpec& spec = job.spec;
        return statement.bind_from(parameter, job.id, spec.lane, spec.priority, spec.batch,
                                   spec.replay_of, spec.max_attempts, spec.timeout, spec.backoff,
                                   spec.absolute, spec.enqueued_at, job.payload.size(),
                                   job_checksum(job.id, spec, job.payload), spec.crashes_max,
                                   or_null(spec.retry), spec.expires_at, or_null(spec.unique_key),
                                   static_cast<int>(spec.unique_scope), job.payload);
      });
  for (const JobInsert& job : jobs) {
    if (!needs_no_status(job) && !insert_status(job.id, job.status))
      throw StoreError(ErrorCode::internal,
                       fmt::format("job {} is new, but its status is there", job.id.value));
    if (job.status.state == JobState::ready)
      statements_->ready.add(job.spec.lane, job.spec.priority, job.id);
    if (job.status.state == JobState::leased)
      statements_->leases.add(job.id, {job.status.lease, job.status.worker},
                              job.status.deliveries == 1);
  }
}

/// False when there is a row already, or no such job.
bool SqliteStore::insert_status(JobId job, const JobStatus& status) {
  return statements_->insert_status.execute(
             job, status.state, status.lease, status.worker, status.deliveries, status.attempts,
             status.crashes, status.attempts_base, status.crashes_base, status.run_at,
             status.started_at, status.finished_at, or_null(status.finish_seq), status.error,
             status.unique_held) == 1;
}

void SqliteStore::update_jobs(const std::vector<JobUpdate>& jobs) {
  std::vector<const JobUpdate*> first_done;
  for (const JobUpdate& job : jobs) {
    const LeaseTable& leases = statements_->leases;
    if (job.from_state == JobState::leased ? !leases.holds(job.id, job.from_lease)
                                           : leases.is_leased(job.id))
      fail_guard(job);
    if (is_first_done(job))
      first_done.push_back(&job);
    else if (!is_first_lease(job))
      write_status(job);
    note_move(job);
  }
  write_first_done(first_done);
}

void SqliteStore::write_first_done(const std::vector<const JobUpdate*>& jobs) {
  const std::size_t written = statements_->first_done.insert(
      jobs, [](sqlite::Statement& statement, int parameter, const JobUpdate* job) {
        const JobStatus& status = job->status;
        return statement.bind_from(parameter, job->id, status.lease, status.worker, status.run_at,
                                   status.started_at, status.finished_at, status.finish_seq,
                                   job->batch, checksum_of(job->id, *job->result), *job->result);
      });
  if (written == jobs.size()) return;
  throw StoreError(ErrorCode::internal,
                   fmt::format("{} of {} jobs that are done were not leased, job {} or later ones",
                               jobs.size() - written, jobs.size(), jobs.front()->id.value));
}

void SqliteStore::write_status(const JobUpdate& job) {
  const JobStatus& status = job.status;
  bool changed =
      statements_->change_status.execute(
          job.id, job.from_state, job.from_lease, status.state, status.lease, status.worker,
          status.deliveries, status.attempts, status.crashes, status.attempts_base,
          status.crashes_base, status.run_at, status.started_at, status.finished_at,
          or_null(status.finish_seq), status.error, status.unique_held) == 1;
  // Without a row it is ready and was never leased, or leased for the first time.
  if (!changed && (job.from_state == JobState::leased ||
                   (job.from_state == JobState::ready && !job.from_lease)))
    changed = insert_status(job.id, status);
  if (!changed) fail_guard(job);
  if (job.result)
    statements_->put_result.execute(job.id, checksum_of(job.id, *job.result), *job.result);
}

/// Moves the job between `ready` and `lease`.
void SqliteStore::note_move(const JobUpdate& job) {
  const JobState from = job.from_state;
  const JobState to = job.status.state;
  if (from == JobState::ready && to != JobState::ready)
    statements_->ready.remove(job.lane, job.priority, job.id);
  if (to == JobState::ready && from != JobState::ready)
    statements_->ready.add(job.lane, job.priority, job.id);
  if (to != JobState::leased && from == JobState::leased) statements_->leases.remove(job.id);
  if (to == JobState::leased && (from != JobState::leased || job.status.lease != job.from_lease))
    statements_->leases.add(job.id, {job.status.lease, job.status.worker},
                            job.status.deliveries == 1);
}

void SqliteStore::apply_deltas(const std::vector<LaneDelta>& deltas) {
  for (const LaneDelta& lane : deltas) {
    const StateDeltas& d = lane.deltas;
    const StateDeltas& b = lane.bytes;
    if (statements_->change_lane.execute(lane.id, d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7],
                                         b[4], b[5], b[6], b[7]) != 1)
      throw StoreError(ErrorCode::internal, fmt::format("there is no lane {}", lane.id.value));
  }
}

}  // namespace millrace::broker

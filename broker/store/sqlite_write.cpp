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

/// It was just enqueued, and waits for nothing but a worker.
bool is_plain(const JobInsert& job) {
  const JobSpec& spec = job.spec;
  const JobStatus& status = job.status;
  return status.state == JobState::ready && !status.lease && !status.worker &&
         status.deliveries == 0 && status.attempts == 0 && status.crashes == 0 &&
         status.attempts_base == 0 && status.crashes_base == 0 && status.started_at == Time{} &&
         status.finished_at == Time{} && !status.finish_seq && status.error.empty() &&
         !status.unique_held && spec.retry.empty() && spec.expires_at == Time{} &&
         spec.unique_key.empty();
}

/// Nothing has happened to it but this one delivery.
bool is_first_delivery(const JobUpdate& job) {
  const JobStatus& status = job.status;
  return job.plain && status.deliveries == 1 && status.crashes == 0 && status.attempts_base == 0 &&
         status.crashes_base == 0 && status.error.empty();
}

bool is_first_lease(const JobUpdate& job) {
  return job.from_state == JobState::ready && job.status.state == JobState::leased &&
         job.status.attempts == 0 && job.status.started_at == Time{} && !job.result &&
         is_first_delivery(job);
}

bool is_first_done(const JobUpdate& job) {
  return job.from_state == JobState::leased && job.status.state == JobState::done &&
         job.status.attempts == 1 && job.status.lease == job.from_lease && job.result &&
         !job.result->empty() && is_first_delivery(job);
}

std::vector<JobId> newly_leased(const WriteBatch& batch) {
  std::vector<JobId> ids;
  for (const JobInsert& job : batch.inserts)
    if (job.status.state == JobState::leased) ids.push_back(job.id);
  for (const JobUpdate& job : batch.updates)
    if (job.status.state == JobState::leased && job.from_state != JobState::leased)
      ids.push_back(job.id);
  return ids;
}

template <class T>
std::optional<T> only(bool wanted, T value) {
  return wanted ? std::optional<T>(value) : std::nullopt;
}

}  // namespace

void SqliteStore::apply(const WriteBatch& batch) {
  sqlite::Transaction transaction(connection_, sqlite::Transaction::Kind::write);
  WorkerId last_worker;
  for (const WorkerRow& worker : batch.workers) last_worker = std::max(last_worker, worker.id);
  fence(batch, last_worker);
  write_names(batch);
  write_requests(batch);
  write_unique(batch);
  write_jobs(batch);
  apply_deltas(batch.lane_deltas);
  statements_->lease_list.write(newly_leased(batch));
  instrument::crash_point("broker.in_transaction");
  transaction.commit();
  statements_->lease_list.committed();
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
  for (const JobUpdate& job : batch.updates) update(job);
  for (const AttemptRow& row : batch.attempts)
    statements_->insert_attempt.execute(row.job, row.attempt, row.worker, row.started_at,
                                        row.finished_at, row.outcome, row.error);
  for (const OutputRow& row : batch.outputs)
    statements_->insert_output.execute(row.seq, row.job, row.lease, row.n, row.attempt,
                                       static_cast<int>(row.type), row.at, row.data);
}

std::string SqliteStore::Statements::insert_plain_sql(std::size_t rows) {
  // No statement is undone on its own, so SQLite need not keep what it would undo it with.
  std::string sql =
      "INSERT OR ROLLBACK INTO job (id, state, lane, priority, batch, replay_of, max_attempts, "
      "timeout, backoff, absolute, enqueued_at, lease, worker, deliveries, attempts, crashes, "
      "attempts_base, crashes_base, run_at, started_at, finished_at, finish_seq, payload_bytes, "
      "checksum, result_checksum, crashes_max, retry, expires_at, unique_key, unique_scope, "
      "unique_held, ready_in, due_at, gives_up_at, error, payload, result) VALUES ";
  constexpr std::size_t kParameters = 16;
  for (std::size_t row = 0; row < rows; ++row)
    sql += fmt::format(
        "{}(?, 2, ?{}, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0, ?, 0, 0, NULL, ?, ?, NULL, ?, "
        "NULL, 0, NULL, ?, 0, ?{}, NULL, NULL, '', ?, NULL)",
        row == 0 ? "" : ", ", row * kParameters + 2, row * kParameters + 2);
  return sql;
}

void SqliteStore::insert_jobs(const std::vector<JobInsert>& jobs) {
  std::vector<const JobInsert*> plain;
  for (const JobInsert& job : jobs) {
    if (is_plain(job))
      plain.push_back(&job);
    else
      insert(job);
  }
  const auto bind = [](sqlite::Statement& statement, int parameter, const JobInsert& job) {
    const JobSpec& spec = job.spec;
    return statement.bind_from(parameter, job.id, spec.lane, spec.priority, spec.batch,
                               spec.replay_of, spec.max_attempts, spec.timeout, spec.backoff,
                               spec.absolute, spec.enqueued_at, job.status.run_at,
                               job.payload.size(), job_checksum(job.id, spec, job.payload),
                               spec.crashes_max, static_cast<int>(spec.unique_scope), job.payload);
  };
  for (std::size_t at = 0; at < plain.size();) {
    const bool many = plain.size() - at >= Statements::kInsertRows;
    sqlite::Statement& statement =
        many ? statements_->insert_plain_rows : statements_->insert_plain;
    const std::size_t end = at + (many ? Statements::kInsertRows : 1);
    int parameter = 1;
    for (; at < end; ++at) parameter = bind(statement, parameter, *plain[at]);
    statement.execute();
  }
}

void SqliteStore::insert(const JobInsert& job) {
  const JobSpec& spec = job.spec;
  const JobStatus& status = job.status;
  const bool ready = status.state == JobState::ready;
  const bool leased = status.state == JobState::leased;
  const bool scheduled = status.state == JobState::scheduled;
  const bool gives_up = (ready || scheduled) && spec.expires_at != Time{};
  statements_->insert_job.execute(
      job.id, status.state, spec.lane, spec.priority, spec.batch, spec.replay_of, spec.max_attempts,
      spec.timeout, spec.backoff, spec.absolute, spec.enqueued_at, status.lease, status.worker,
      status.deliveries, status.attempts, status.crashes, status.attempts_base, status.crashes_base,
      status.run_at, status.started_at, status.finished_at, or_null(status.finish_seq),
      job.payload.size(), job_checksum(job.id, spec, job.payload), status.error, spec.crashes_max,
      or_null(spec.retry), spec.expires_at, or_null(spec.unique_key),
      static_cast<int>(spec.unique_scope), status.unique_held, job.payload,
      only(ready || leased, spec.lane), only(scheduled, status.run_at),
      only(gives_up, spec.expires_at));
}

void SqliteStore::update(const JobUpdate& job) {
  const std::int64_t changed = is_first_lease(job)  ? write_first_lease(job)
                               : is_first_done(job) ? write_first_done(job)
                                                    : write_status(job);
  if (changed == 1) return;
  throw StoreError(
      ErrorCode::internal,
      fmt::format("job {} is not `{}` under lease {}, so it cannot become `{}`", job.id.value,
                  to_string(job.from_state), job.from_lease.value, to_string(job.status.state)));
}

std::int64_t SqliteStore::write_first_lease(const JobUpdate& job) {
  return statements_->first_lease.execute(job.id, job.status.lease, job.status.worker);
}

std::int64_t SqliteStore::write_first_done(const JobUpdate& job) {
  const JobStatus& status = job.status;
  return statements_->first_done.execute(job.id, status.lease, status.started_at,
                                         status.finished_at, status.finish_seq, *job.result,
                                         result_checksum(job.id, *job.result));
}

std::int64_t SqliteStore::write_status(const JobUpdate& job) {
  const JobStatus& status = job.status;
  const std::int64_t changed = statements_->update_job.execute(
      job.id, job.from_state, job.from_lease, status.state, status.lease, status.worker,
      status.deliveries, status.attempts, status.crashes, status.attempts_base, status.crashes_base,
      status.run_at, status.started_at, status.finished_at, or_null(status.finish_seq),
      status.error, status.unique_held);
  if (job.result && job.result->empty())
    statements_->put_result.execute(job.id, nullptr, nullptr);
  else if (job.result)
    statements_->put_result.execute(job.id, *job.result, result_checksum(job.id, *job.result));
  return changed;
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

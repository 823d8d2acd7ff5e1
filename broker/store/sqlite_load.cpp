// SqliteStore: what it reads for the engine.

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "broker/store/job_filter.h"
#include "broker/store/sqlite_statements.h"

namespace millrace::broker {
namespace {

std::vector<JobId> unpack(std::string_view bytes) {
  std::vector<JobId> ids(bytes.size() / 8);
  for (std::size_t i = 0; i < ids.size() * 8; ++i)
    ids[i / 8].value |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (i % 8 * 8);
  return ids;
}

/// Takes rows until there are `jobs_max` jobs; true when there are no more.
bool take(sqlite::Rows rows, std::size_t jobs_max, std::vector<JobRecord>& jobs) {
  while (rows.next()) {
    if (jobs.size() == jobs_max) return false;
    jobs.push_back(read_job(rows, PayloadRead::small));
  }
  return true;
}

}  // namespace

Loaded SqliteStore::answer(const LoadReady& load) {
  LoadedReady loaded{.lane = load.lane, .jobs = {}};
  loaded.jobs.reserve(load.jobs_max);
  const std::size_t rows_max = load.jobs_max + 1;  // one more tells whether that is the end
  loaded.end =
      take(statements_->load_ready.run(load.lane, load.after_priority, load.after_id, rows_max),
           load.jobs_max, loaded.jobs);
  return loaded;
}

Loaded SqliteStore::answer(const LoadScheduled& load) {
  LoadedScheduled loaded;
  const std::size_t rows_max = load.jobs_max + 1;
  Statements& s = *statements_;
  loaded.end = take(s.load_scheduled_same.run(load.after_run_at, load.after_id, rows_max),
                    load.jobs_max, loaded.jobs) &&
               take(s.load_scheduled_above.run(load.after_run_at, rows_max - loaded.jobs.size()),
                    load.jobs_max, loaded.jobs);
  return loaded;
}

std::vector<BatchRow> SqliteStore::batches_of(const std::vector<JobRecord>& jobs) {
  std::set<BatchId> ids;
  for (const JobRecord& job : jobs) ids.insert(job.spec.batch);
  std::vector<BatchRow> batches;
  for (const BatchId id : ids) {
    auto rows = statements_->load_batch.run(id);
    if (rows.next()) batches.push_back(read_batch(rows));
  }
  return batches;
}

std::vector<UniqueRow> SqliteStore::unique_of(const std::vector<JobRecord>& jobs) {
  std::set<std::pair<LaneId, std::string_view>> keys;
  for (const JobRecord& job : jobs)
    if (!job.spec.unique_key.empty()) keys.emplace(job.spec.lane, job.spec.unique_key);
  std::vector<UniqueRow> unique;
  for (const auto& [lane, key] : keys) {
    auto rows = statements_->load_unique_in_lane.run(lane, key);
    if (!rows.next()) continue;
    UniqueRow row = read_unique(rows);  // two lanes may be of one queue
    if (std::find(unique.begin(), unique.end(), row) == unique.end())
      unique.push_back(std::move(row));
  }
  return unique;
}

Loaded SqliteStore::answer(const LoadJobs& load) {
  LoadedJobs loaded{.ticket = load.ticket, .jobs = {}, .batches = {}, .unique = {}};
  loaded.jobs.reserve(load.ids.size());
  auto& statement = load.payloads ? statements_->load_job_whole : statements_->load_job;
  for (const JobId id : load.ids) {
    auto rows = statement.run(id);
    if (!rows.next()) continue;
    loaded.jobs.push_back(read_job(rows, load.payloads ? PayloadRead::whole : PayloadRead::small));
  }
  loaded.batches = batches_of(loaded.jobs);
  if (load.unique) loaded.unique = unique_of(loaded.jobs);
  return loaded;
}

Loaded SqliteStore::answer(const LoadUnique& load) {
  LoadedUnique loaded{.ticket = load.ticket, .rows = {}, .jobs = {}, .batches = {}};
  for (const std::string& key : load.keys) {
    auto rows = statements_->load_unique.run(load.queue, key);
    if (rows.next()) loaded.rows.push_back(read_unique(rows));
  }
  std::set<JobId> holders;
  for (const UniqueRow& row : loaded.rows) holders.insert(row.job);
  for (const JobId id : holders) {
    auto rows = statements_->load_job.run(id);
    if (rows.next()) loaded.jobs.push_back(read_job(rows, PayloadRead::small));
  }
  loaded.batches = batches_of(loaded.jobs);
  return loaded;
}

Loaded SqliteStore::answer(const LoadExpired& load) {
  LoadedExpired loaded;
  {
    auto rows = statements_->load_expiring.run(load.jobs_max + 1);
    while (!loaded.next && rows.next()) {
      JobRecord job = read_job(rows, PayloadRead::small);
      if (job.spec.expires_at > load.upto || loaded.jobs.size() == load.jobs_max)
        loaded.next = job.spec.expires_at;
      else
        loaded.jobs.push_back(std::move(job));
    }
  }
  loaded.batches = batches_of(loaded.jobs);
  return loaded;
}

Loaded SqliteStore::answer(const LoadRequest& load) {
  LoadedRequest loaded{.id = load.id, .row = {}};
  {
    auto rows = statements_->load_request.run(load.id.prefix, load.id.counter);
    if (rows.next())
      loaded.row = RequestRow{.id = load.id,
                              .body_hash = rows.natural(0),
                              .batch = rows.id<BatchId>(1),
                              .first = rows.id<JobId>(2),
                              .count = rows.natural(3),
                              .replay_of = unpack(rows.bytes(5)),
                              .ids = unpack(rows.bytes(6)),
                              .at = rows.time(4)};
  }
  auto rows = statements_->counter_max.run(load.id.prefix);
  if (rows.next()) loaded.counter_max = rows.natural(0);
  return loaded;
}

Loaded SqliteStore::answer(const LoadBatch& load) {
  LoadedBatch loaded{.id = load.id, .row = {}};
  {
    auto rows = statements_->load_batch.run(load.id);
    if (rows.next()) loaded.row = read_batch(rows);
  }
  if (loaded.row) return loaded;
  auto rows = statements_->load_job.run(load.id);
  if (rows.next()) loaded.row = implicit_batch(read_job(rows, PayloadRead::small));
  return loaded;
}

Loaded SqliteStore::load(const Load& load) {
  return guarded([&] { return std::visit([&](const auto& one) { return answer(one); }, load); });
}

std::vector<Payload> SqliteStore::payloads(std::span<const JobId> ids) {
  return guarded([&] {
    std::vector<Payload> payloads;
    payloads.reserve(ids.size());
    for (const JobId id : ids) {
      auto rows = statements_->load_job_whole.run(id);
      if (!rows.next())
        throw StoreError(
            ErrorCode::internal,
            fmt::format("the payload of job {} is wanted, but there is no such job", id.value));
      payloads.push_back(read_job(rows, PayloadRead::whole).payload);
    }
    return payloads;
  });
}

std::uint64_t SqliteStore::outputs_of(const JobRecord& job) {
  // Only the newest run writes, and its numbers rise, so its last row says it all.
  auto rows = statements_->last_output.run(job.id);
  return rows.next() && rows.id<LeaseId>(0) == job.status.lease ? rows.natural(1) : 0;
}

std::vector<JobRecord> SqliteStore::leased_jobs() {
  std::vector<JobRecord> jobs;
  take(statements_->load_leased.run(), std::numeric_limits<std::size_t>::max(), jobs);
  std::map<JobId, LeaseTable::Held> leases;
  for (const JobRecord& job : jobs) leases[job.id] = {job.status.lease, job.status.worker};
  statements_->leases.load(std::move(leases));
  std::sort(jobs.begin(), jobs.end(),
            [](const auto& a, const auto& b) { return a.status.lease < b.status.lease; });
  for (JobRecord& job : jobs) job.outputs = outputs_of(job);
  return jobs;
}

Snapshot SqliteStore::snapshot() {
  Snapshot snapshot;
  sqlite::Transaction transaction(connection_, sqlite::Transaction::Kind::read);
  const auto read = [&](std::string_view sql, const auto& take_row) {
    sqlite::Statement statement(connection_, sql);
    auto rows = statement.run();
    while (rows.next()) take_row(rows);
  };
  read("SELECT epoch, last_job, last_finish, last_worker, last_output FROM meta",
       [&](const auto& row) {
         snapshot.epoch = row.natural(0);
         snapshot.last_job = row.template id<JobId>(1);
         snapshot.last_finish = row.template id<FinishSeq>(2);
         snapshot.last_worker = row.template id<WorkerId>(3);
         snapshot.last_output = row.template id<OutputSeq>(4);
       });
  read("SELECT " MR_LANE_COLUMNS " FROM lane ORDER BY id",
       [&](const auto& row) { snapshot.lanes.push_back(read_lane(row)); });
  read("SELECT name, state, paused, generation FROM queue ORDER BY name", [&](const auto& row) {
    snapshot.queues.push_back(
        {row.text(0), static_cast<QueueState>(row.integer(1)), row.boolean(2), row.natural(3)});
  });
  read("SELECT " MR_BATCH_COLUMNS
       " FROM batch INDEXED BY batch_live WHERE sealed = 0 OR open > 0 ORDER BY id",
       [&](const auto& row) { snapshot.batches.push_back(read_batch(row)); });
  read("SELECT " MR_KIND_COLUMNS " FROM kind ORDER BY name",
       [&](const auto& row) { snapshot.kinds.push_back(read_kind(row)); });
  snapshot.leased = leased_jobs();
  std::vector<WorkerId> workers;
  for (const JobRecord& job : snapshot.leased) workers.push_back(job.status.worker);
  std::sort(workers.begin(), workers.end());
  workers.erase(std::unique(workers.begin(), workers.end()), workers.end());
  for (const WorkerId id : workers) {
    auto rows = statements_->load_worker.run(id);
    if (rows.next()) snapshot.workers.push_back(read_worker(rows));
  }
  transaction.commit();
  return snapshot;
}

}  // namespace millrace::broker

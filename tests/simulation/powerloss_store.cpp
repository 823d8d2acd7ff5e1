#include "tests/simulation/powerloss_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>

#include "broker/store/sqlite_rows.h"
#include "broker/store/sqlite_settings.h"
#include "broker/store/table_check.h"

namespace millrace::simulation {
namespace {

using broker::MemoryState;
using broker::sqlite::Connection;

/// The lock file is a real one; it needs a folder of this process's own.
std::string folder() {
  const auto path = std::filesystem::path("/dev/shm") / fmt::format("millrace-sim-{}", ::getpid());
  std::filesystem::create_directory(path);
  return path.string();
}

template <class Take>
void read(const Connection& connection, std::string_view sql, const Take& take) {
  broker::sqlite::Statement statement(connection, sql);
  auto rows = statement.run();
  while (rows.next()) take(rows);
}

void read_jobs(const Connection& connection, MemoryState& state) {
  read(connection, MR_JOB_WHOLE, [&](const auto& row) {
    auto record = broker::read_job(row, broker::PayloadRead::whole);
    const JobId id = record.id;
    state.jobs[id].record = std::move(record);
  });
  read(connection, "SELECT id, result, result_checksum FROM status WHERE result IS NOT NULL",
       [&](const auto& row) {
         const auto id = row.template id<JobId>(0);
         Payload& result = state.jobs.at(id).result;
         result = row.payload(1);
         broker::check_result(id, result, row.integer(2));
       });
  read(connection,
       "SELECT job, attempt, worker, started_at, finished_at, outcome, error FROM attempt",
       [&](const auto& row) {
         const auto id = row.template id<JobId>(0);
         state.attempts[{id, row.small(1)}] = {
             id,          row.small(1), row.template id<WorkerId>(2), row.time(3), row.time(4),
             row.text(5), row.text(6)};
       });
}

void read_names(const Connection& connection, MemoryState& state) {
  read(connection, "SELECT " MR_LANE_COLUMNS " FROM lane", [&](const auto& row) {
    broker::LaneRow lane = broker::read_lane(row);
    state.lanes[lane.id] = std::move(lane);
  });
  read(connection, "SELECT " MR_BATCH_COLUMNS " FROM batch", [&](const auto& row) {
    broker::BatchRow batch = broker::read_batch(row);
    state.batches[batch.id] = std::move(batch);
  });
  read(connection, "SELECT name, state, paused, generation FROM queue", [&](const auto& row) {
    state.queues[row.text(0)] = {row.text(0), static_cast<broker::QueueState>(row.integer(1)),
                                 row.boolean(2), row.natural(3)};
  });
  read(connection, "SELECT epoch, last_job, last_finish, last_output FROM meta",
       [&](const auto& row) {
         state.epoch = row.natural(0);
         state.last_job = row.template id<JobId>(1);
         state.last_finish = row.template id<FinishSeq>(2);
         state.last_output = row.template id<OutputSeq>(3);
       });
  read(connection, "SELECT " MR_WORKER_COLUMNS " FROM worker", [&](const auto& row) {
    broker::WorkerRow worker = broker::read_worker(row);
    state.workers[worker.id] = std::move(worker);
  });
  read(connection, "SELECT prefix, counter, first, count FROM request", [&](const auto& row) {
    broker::RequestRow request;
    request.id = {row.natural(0), row.natural(1)};
    request.first = row.template id<JobId>(2);
    request.count = row.natural(3);
    state.requests[request.id] = std::move(request);
  });
  read(connection, "SELECT queue, key, job, until FROM unique_key", [&](const auto& row) {
    broker::UniqueRow key = broker::read_unique(row);
    state.unique[{key.queue, key.key}] = std::move(key);
  });
}

void read_outputs(const Connection& connection, MemoryState& state) {
  read(connection, "SELECT seq, job, lease, n, attempt, type, at, data FROM output",
       [&](const auto& row) {
         broker::OutputRow output;
         output.seq = row.template id<OutputSeq>(0);
         output.job = row.template id<JobId>(1);
         output.lease = row.template id<LeaseId>(2);
         output.n = row.natural(3);
         output.attempt = row.small(4);
         output.type = broker::checked_type(output.job, row.integer(5));
         output.at = row.time(6);
         output.data = row.payload(7);
         state.job_outputs.emplace(output.job, output.seq);
         state.outputs[output.seq] = std::move(output);
       });
}

}  // namespace

PowerlossStore::PowerlossStore(std::uint64_t seed, int synchronous)
    : disk_(seed), synchronous_(synchronous), path_(folder() + "/db") {}

PowerlossStore::~PowerlossStore() {
  disk_.stop();
  query_.reset();
  store_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(std::filesystem::path(path_).parent_path(), ignored);
}

void PowerlossStore::open() {
  broker::SqliteOptions options;
  options.path = path_;
  options.ballast_bytes = 0;
  options.log_reserve_bytes = 0;
  options.log_passive_bytes = 64 * kKiB;
  options.log_restart_bytes = 160 * kKiB;
  options.log_truncate_bytes = 320 * kKiB;
  options.synchronous = synchronous_;
  options.lease_rows_slack = 8;
  options.vfs = disk_.vfs();
  store_ = std::make_unique<broker::SqliteStore>(std::move(options));
}

broker::Query& PowerlossStore::query() {
  if (!query_)
    query_ = std::make_unique<broker::SqliteQuery>(
        broker::SqliteQueryOptions{.path = path_, .vfs = disk_.vfs()});
  return *query_;
}

void PowerlossStore::die(Death death, SimRandom& random) {
  disk_.stop();
  query_.reset();
  store_.reset();
  disk_.revive(death == Death::power, random);
}

void PowerlossStore::lose_power_soon(SimRandom& random) {
  disk_.lose_power_after(random.below(12));
}

const MemoryState& PowerlossStore::rows() {
  rows_ = {};
  const Connection connection(path_, broker::sqlite::Access::read, disk_.vfs());
  broker::check_tables(connection, [](const broker::Violation& violation) {
    throw std::runtime_error(violation.text);
  });
  read_jobs(connection, rows_);
  read_names(connection, rows_);
  read_outputs(connection, rows_);
  return rows_;
}

}  // namespace millrace::simulation

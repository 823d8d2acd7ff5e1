#include "tests/contract/store_contract.h"

#include <algorithm>
#include <cstdlib>
#include <map>

namespace millrace::broker::testing {

TempFolder::TempFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "millrace-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
  path_ = name;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

SqliteOptions fast_options(const std::string& path) {
  SqliteOptions options;
  options.path = path;
  options.ballast_bytes = 0;
  options.log_reserve_bytes = 0;
  options.synchronous = 0;
  options.lease_rows_slack = 4;
  return options;
}

void SqliteBackend::reopen() {
  query_.reset();
  store_.reset();
  store_ = std::make_unique<SqliteStore>(fast_options(folder_.file("jobs.db")));
}

Query& SqliteBackend::query() {
  if (!query_)
    query_ = std::make_unique<SqliteQuery>(SqliteQueryOptions{.path = folder_.file("jobs.db")});
  return *query_;
}

Time at(std::int64_t ms) { return Time{Duration{ms}}; }

JobInsert ready_job(std::uint64_t id) {
  JobInsert job;
  job.id = JobId{id};
  job.spec.lane = kLane;
  job.spec.batch = BatchId{1};
  job.spec.enqueued_at = at(kEnqueuedAt);
  job.status.run_at = job.spec.enqueued_at;
  return job;
}

JobInsert scheduled_job(std::uint64_t id, std::int64_t run_at) {
  JobInsert job = ready_job(id);
  job.status.state = JobState::scheduled;
  job.status.run_at = at(kEnqueuedAt + run_at);
  return job;
}

JobInsert leased_job(std::uint64_t id, std::uint64_t lease) {
  JobInsert job = ready_job(id);
  job.status.state = JobState::leased;
  job.status.lease = LeaseId{lease};
  job.status.deliveries = 1;
  return job;
}

JobUpdate change(const JobInsert& job, JobState state) {
  JobUpdate update;
  update.id = job.id;
  update.from_state = job.status.state;
  update.from_lease = job.status.lease;
  update.status = job.status;
  update.status.state = state;
  update.lane = job.spec.lane;
  update.priority = job.spec.priority;
  update.batch = job.spec.batch;
  return update;
}

JobUpdate finish(const JobInsert& job, JobState state, std::uint64_t seq,
                 std::int64_t finished_at) {
  JobUpdate update = change(job, state);
  update.status.finish_seq = FinishSeq{seq};
  update.status.finished_at = at(kEnqueuedAt + finished_at);
  if (state == JobState::done) {
    update.status.attempts = 1;
    update.result = Payload::text("result " + std::to_string(job.id.value));
  }
  return update;
}

std::vector<std::uint64_t> ids(const std::vector<JobRecord>& jobs) {
  std::vector<std::uint64_t> ids;
  ids.reserve(jobs.size());
  for (const auto& job : jobs) ids.push_back(job.id.value);
  return ids;
}

std::vector<std::uint64_t> ids(const std::vector<protocol::JobInfo>& jobs) {
  std::vector<std::uint64_t> ids;
  ids.reserve(jobs.size());
  for (const auto& job : jobs) ids.push_back(job.job.value);
  return ids;
}

void count(WriteBatch& batch, const std::vector<JobInsert>& known) {
  std::map<JobId, const JobInsert*> jobs;
  for (const JobInsert& job : known) jobs[job.id] = &job;
  std::map<LaneId, LaneDelta> deltas;
  const auto add = [&](const JobInsert& job, JobState state, int by, std::size_t bytes) {
    LaneDelta& delta = deltas[job.spec.lane];
    delta.id = job.spec.lane;
    delta.deltas.at(static_cast<std::size_t>(state)) += by;
    if (is_final(state))
      delta.bytes.at(static_cast<std::size_t>(state)) += by * static_cast<std::int64_t>(bytes);
  };
  for (const JobInsert& job : batch.inserts) {
    jobs[job.id] = &job;
    add(job, job.status.state, +1, job.payload.size());
    batch.last_job = std::max(batch.last_job, job.id);
  }
  for (const JobUpdate& update : batch.updates) {
    const JobInsert& job = *jobs.at(update.id);
    add(job, update.from_state, -1, job.payload.size());
    add(job, update.status.state, +1,
        job.payload.size() + (update.result ? update.result->size() : 0));
    batch.last_finish = std::max(batch.last_finish, update.status.finish_seq);
  }
  for (const auto& [lane, delta] : deltas) batch.lane_deltas.push_back(delta);
}

void put(Store& store, std::vector<JobInsert> jobs) {
  WriteBatch batch;
  batch.inserts = std::move(jobs);
  count(batch);
  store.commit(batch);
}

void put(Store& store, const std::vector<JobInsert>& known, std::vector<JobUpdate> updates) {
  WriteBatch batch;
  batch.updates = std::move(updates);
  count(batch, known);
  store.commit(batch);
}

Prune prune_by_age(Time finished_before, std::size_t jobs_max) {
  Prune prune{.finished_before = finished_before, .from = {}, .jobs_max = jobs_max};
  prune.bytes_max = std::size_t{1} << 20;
  for (const LaneId lane : {kLane, LaneId{2}}) {
    LanePrune one{.lane = lane};
    one.finished_before.fill(finished_before);
    prune.lanes.push_back(one);
  }
  return prune;
}

void expect_same(const JobInsert& written, const JobRecord& read) {
  EXPECT_EQ(written.id, read.id);
  EXPECT_EQ(written.spec.lane, read.spec.lane);
  EXPECT_EQ(written.spec.priority, read.spec.priority);
  EXPECT_EQ(written.spec.batch, read.spec.batch);
  EXPECT_EQ(written.spec.replay_of, read.spec.replay_of);
  EXPECT_EQ(written.spec.max_attempts, read.spec.max_attempts);
  EXPECT_EQ(written.spec.timeout, read.spec.timeout);
  EXPECT_EQ(written.spec.backoff, read.spec.backoff);
  EXPECT_EQ(written.spec.absolute, read.spec.absolute);
  EXPECT_EQ(written.spec.enqueued_at, read.spec.enqueued_at);
  EXPECT_EQ(written.spec.crashes_max, read.spec.crashes_max);
  EXPECT_EQ(written.spec.retry, read.spec.retry);
  EXPECT_EQ(written.spec.expires_at, read.spec.expires_at);
  EXPECT_EQ(written.spec.unique_key, read.spec.unique_key);
  EXPECT_EQ(written.spec.unique_scope, read.spec.unique_scope);
  EXPECT_EQ(written.status.unique_held, read.status.unique_held);
  EXPECT_EQ(written.status.state, read.status.state);
  EXPECT_EQ(written.status.lease, read.status.lease);
  EXPECT_EQ(written.status.worker, read.status.worker);
  EXPECT_EQ(written.status.deliveries, read.status.deliveries);
  EXPECT_EQ(written.status.attempts, read.status.attempts);
  EXPECT_EQ(written.status.crashes, read.status.crashes);
  EXPECT_EQ(written.status.attempts_base, read.status.attempts_base);
  EXPECT_EQ(written.status.crashes_base, read.status.crashes_base);
  EXPECT_EQ(written.status.run_at, read.status.run_at);
  EXPECT_EQ(written.status.started_at, read.status.started_at);
  EXPECT_EQ(written.status.finished_at, read.status.finished_at);
  EXPECT_EQ(written.status.finish_seq, read.status.finish_seq);
  EXPECT_EQ(written.status.error, read.status.error);
  EXPECT_EQ(written.payload, read.payload);
  EXPECT_EQ(written.payload.size(), read.payload_bytes);
}

}  // namespace millrace::broker::testing

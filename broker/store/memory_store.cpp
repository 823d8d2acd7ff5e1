// MemoryStore: commits and faults.

#include "broker/store/memory_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/assert.h"

namespace millrace::broker {
namespace {

[[noreturn]] void fail_guard(const std::string& what) {
  throw StoreError(ErrorCode::internal, what);
}

void add(LaneRow& lane, const LaneDelta& delta) {
  for (std::size_t i = 0; i < kJobStateCount; ++i) {
    lane.counts.at(i) += static_cast<std::uint64_t>(delta.deltas.at(i));
    lane.bytes.at(i) += static_cast<std::uint64_t>(delta.bytes.at(i));
  }
}

}  // namespace

template <class Work>
auto MemoryStore::guarded(const Work& work) {
  if (failed_) throw StoreError(ErrorCode::storage_failed, "the store failed before");
  try {
    return work();
  } catch (...) {
    failed_ = true;
    throw;
  }
}

Snapshot MemoryStore::start() {
  MR_ASSERT(!started_, "a store starts once");
  return guarded([&] {
    started_ = true;
    ++state_.epoch;
    Snapshot snapshot;
    snapshot.epoch = state_.epoch;
    snapshot.last_job = state_.last_job;
    snapshot.last_finish = state_.last_finish;
    snapshot.last_worker = state_.last_worker;
    snapshot.last_output = state_.last_output;
    for (const auto& [name, kind] : state_.kinds) snapshot.kinds.push_back(kind);
    for (const auto& [id, lane] : state_.lanes) snapshot.lanes.push_back(lane);
    for (const auto& [name, queue] : state_.queues) snapshot.queues.push_back(queue);
    for (const auto& [id, batch] : state_.batches)
      if (!batch.sealed || batch.open > 0) snapshot.batches.push_back(batch);
    std::set<WorkerId> workers;
    for (const auto& [id, job] : state_.jobs) {
      if (job.record.status.state != JobState::leased) continue;
      snapshot.leased.push_back(job.record);
      JobRecord& leased = snapshot.leased.back();
      if (leased.payload_bytes > kPayloadInlineMax) leased.payload = {};
      for (const OutputRow& row : outputs_of(id))
        if (row.lease == leased.status.lease) leased.outputs = std::max(leased.outputs, row.n);
      workers.insert(job.record.status.worker);
    }
    std::sort(snapshot.leased.begin(), snapshot.leased.end(),
              [](const auto& a, const auto& b) { return a.status.lease < b.status.lease; });
    for (const WorkerId id : workers)
      if (state_.workers.contains(id)) snapshot.workers.push_back(state_.workers.at(id));
    return snapshot;
  });
}

void MemoryStore::fail_commit(std::uint64_t nth, ErrorCode code, Fate fate) {
  MR_ASSERT(nth > 0, "commits are counted from 1");
  fault_ = Fault{nth, code, fate};
}

void MemoryStore::commit(const WriteBatch& batch) {
  if (batch.empty()) return;
  guarded([&] {
    MR_ASSERT(started_, "commit before start");
    throw_if_due(batch);
    throw_if_full();
    check(batch);
    apply(batch);
    ++commits_;
  });
}

void MemoryStore::throw_if_due(const WriteBatch& batch) {
  if (!fault_ || --fault_->in > 0) return;
  if (fault_->fate == Fate::kept) {
    check(batch);
    apply(batch);
  }
  throw StoreError(fault_->code, "a fault that a test asked for");
}

void MemoryStore::throw_if_full() {
  if (!disk_full_) return;
  if (!std::exchange(ballast_, false))
    throw StoreError(ErrorCode::storage_failed, "the disk is full");
}

void MemoryStore::maintain() {
  guarded([] {});
}

void MemoryStore::check(const WriteBatch& batch) const {
  for (const LaneRow& lane : batch.lanes)
    for (const auto& [id, known] : state_.lanes)
      if (id == lane.id || (known.queue == lane.queue && known.kind == lane.kind))
        fail_guard(fmt::format("lane {} exists", id.value));
  for (const RequestRow& row : batch.requests)
    if (state_.requests.contains(row.id)) fail_guard("the request exists");
  check_jobs(batch);
  check_deltas(batch);
  check_unique(batch);
  check_outputs(batch);
}

void MemoryStore::check_unique(const WriteBatch& batch) const {
  std::set<std::pair<std::string, std::string>> released;
  for (const UniqueRow& row : batch.unique_released) {
    const auto found = state_.unique.find({row.queue, row.key});
    const bool first = released.emplace(row.queue, row.key).second;
    if (!first || found == state_.unique.end() || found->second != row)
      fail_guard(fmt::format("unique key `{}` is not held by job {}", row.key, row.job.value));
  }
  std::set<std::pair<std::string, std::string>> acquired;
  for (const UniqueRow& row : batch.unique_acquired) {
    const std::pair name(row.queue, row.key);
    const bool taken = state_.unique.contains(name) && !released.contains(name);
    if (!acquired.insert(name).second || taken)
      fail_guard(fmt::format("unique key `{}` is taken", row.key));
  }
}

void MemoryStore::check_outputs(const WriteBatch& batch) const {
  std::set<OutputSeq> written;
  for (const OutputRow& row : batch.outputs)
    if (!written.insert(row.seq).second || state_.outputs.contains(row.seq))
      fail_guard(fmt::format("output {} exists", row.seq.value));
}

void MemoryStore::check_jobs(const WriteBatch& batch) const {
  std::map<JobId, std::pair<JobState, LeaseId>> written;
  for (const JobInsert& job : batch.inserts) {
    const bool fresh =
        written.emplace(job.id, std::pair(job.status.state, job.status.lease)).second;
    if (!fresh || state_.jobs.contains(job.id))
      fail_guard(fmt::format("job {} exists", job.id.value));
  }
  for (const JobUpdate& job : batch.updates) {
    auto found = written.find(job.id);
    if (found == written.end()) {
      const auto stored = state_.jobs.find(job.id);
      if (stored == state_.jobs.end()) fail_guard(fmt::format("there is no job {}", job.id.value));
      const JobStatus& status = stored->second.record.status;
      found = written.emplace(job.id, std::pair(status.state, status.lease)).first;
    }
    if (found->second != std::pair(job.from_state, job.from_lease))
      fail_guard(fmt::format("job {} is not `{}` under lease {}", job.id.value,
                             to_string(job.from_state), job.from_lease.value));
    found->second = {job.status.state, job.status.lease};
  }
  std::set<std::pair<JobId, int>> attempts;
  for (const AttemptRow& row : batch.attempts) {
    const std::pair key(row.job, row.attempt);
    if (!attempts.insert(key).second || state_.attempts.contains(key))
      fail_guard(fmt::format("attempt {} of job {} exists", row.attempt, row.job.value));
  }
}

void MemoryStore::check_deltas(const WriteBatch& batch) const {
  std::map<LaneId, LaneRow> lanes;
  for (const LaneRow& lane : batch.lanes) lanes[lane.id] = {};
  for (const LaneDelta& delta : batch.lane_deltas) {
    const auto stored = state_.lanes.find(delta.id);
    if (stored != state_.lanes.end()) lanes.try_emplace(delta.id, stored->second);
    const auto found = lanes.find(delta.id);
    if (found == lanes.end()) fail_guard(fmt::format("there is no lane {}", delta.id.value));
    add(found->second, delta);
    for (std::size_t i = 0; i < kJobStateCount; ++i)
      if (static_cast<std::int64_t>(found->second.counts.at(i)) < 0 ||
          static_cast<std::int64_t>(found->second.bytes.at(i)) < 0)
        fail_guard(fmt::format("lane {} would count less than nothing", delta.id.value));
  }
}

void MemoryStore::apply(const WriteBatch& batch) {
  apply_names(batch);
  for (const RequestRow& row : batch.requests) state_.requests[row.id] = row;
  for (const UniqueRow& row : batch.unique_released) state_.unique.erase({row.queue, row.key});
  for (const UniqueRow& row : batch.unique_acquired) state_.unique[{row.queue, row.key}] = row;
  for (const JobInsert& job : batch.inserts) insert(job);
  for (const JobUpdate& job : batch.updates) update(job);
  for (const AttemptRow& row : batch.attempts) state_.attempts[{row.job, row.attempt}] = row;
  for (const OutputRow& row : batch.outputs) {
    state_.outputs[row.seq] = row;
    state_.job_outputs.emplace(row.job, row.seq);
  }
  apply_deltas(batch.lane_deltas);
  apply_marks(batch);
}

void MemoryStore::apply_names(const WriteBatch& batch) {
  for (LaneRow lane : batch.lanes) {
    lane.counts = {};
    lane.bytes = {};
    state_.lanes[lane.id] = lane;
  }
  for (const QueueRow& queue : batch.queues) state_.queues[queue.name] = queue;
  for (const BatchRow& row : batch.batches) state_.batches[row.id] = row;
  for (const WorkerRow& row : batch.workers) {
    state_.workers[row.id] = row;
    state_.last_worker = std::max(state_.last_worker, row.id);
  }
  for (const KindRow& row : batch.kinds) {
    if (row.gone)
      state_.kinds.erase(row.name);
    else
      state_.kinds[row.name] = row;
  }
}

void MemoryStore::apply_marks(const WriteBatch& batch) {
  state_.last_job = std::max(state_.last_job, batch.last_job);
  state_.last_finish = std::max(state_.last_finish, batch.last_finish);
  state_.last_output = std::max(state_.last_output, batch.last_output);
}

void MemoryStore::insert(const JobInsert& job) {
  auto& stored = state_.jobs[job.id];
  stored.record = {job.id, job.spec, job.status, job.payload, job.payload.size(), 0};
  add_to_indexes(stored.record);
}

void MemoryStore::update(const JobUpdate& job) {
  auto& stored = state_.jobs.at(job.id);
  remove_from_indexes(stored.record);
  stored.record.status = job.status;
  if (job.result) stored.result = *job.result;
  add_to_indexes(stored.record);
}

void MemoryStore::apply_deltas(const std::vector<LaneDelta>& deltas) {
  for (const LaneDelta& delta : deltas) add(state_.lanes.at(delta.id), delta);
}

void MemoryStore::add_to_indexes(const JobRecord& job) {
  if (job.status.state == JobState::ready)
    state_.ready.emplace(job.spec.lane, job.spec.priority, job.id);
  if (job.status.state == JobState::scheduled) state_.scheduled.emplace(job.status.run_at, job.id);
  if (job.spec.expires_at != Time{} &&
      (job.status.state == JobState::scheduled || job.status.state == JobState::ready))
    state_.expiring.emplace(job.spec.expires_at, job.id);
  if (job.status.finish_seq) state_.ended.emplace(job.spec.batch, job.status.finish_seq, job.id);
}

void MemoryStore::remove_from_indexes(const JobRecord& job) {
  state_.ready.erase({job.spec.lane, job.spec.priority, job.id});
  state_.scheduled.erase({job.status.run_at, job.id});
  state_.expiring.erase({job.spec.expires_at, job.id});
  state_.ended.erase({job.spec.batch, job.status.finish_seq, job.id});
}

Loaded MemoryStore::load(const Load& load) {
  return guarded([&] { return std::visit([&](const auto& one) { return answer(one); }, load); });
}

std::vector<Payload> MemoryStore::payloads(std::span<const JobId> ids) {
  return guarded([&] {
    std::vector<Payload> payloads;
    for (const JobId id : ids) {
      const auto found = state_.jobs.find(id);
      if (found == state_.jobs.end()) fail_guard(fmt::format("there is no job {}", id.value));
      payloads.push_back(found->second.record.payload);
    }
    return payloads;
  });
}

}  // namespace millrace::broker

// MemoryStore: loads and retention.

#include "broker/store/memory_store.h"
#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

JobRecord small(const JobRecord& job) {
  JobRecord record = job;
  if (record.payload_bytes > kPayloadInlineMax) record.payload = {};
  return record;
}

}  // namespace

Loaded MemoryStore::answer(const LoadReady& load) const {
  LoadedReady loaded{.lane = load.lane, .jobs = {}, .end = true};
  auto at = state_.ready.upper_bound({load.lane, load.after_priority, load.after_id});
  for (; at != state_.ready.end() && std::get<0>(*at) == load.lane; ++at) {
    if (loaded.jobs.size() == load.jobs_max) {
      loaded.end = false;
      break;
    }
    loaded.jobs.push_back(small(state_.jobs.at(std::get<2>(*at)).record));
  }
  return loaded;
}

Loaded MemoryStore::answer(const LoadScheduled& load) const {
  LoadedScheduled loaded{.jobs = {}, .end = true};
  auto at = state_.scheduled.upper_bound({load.after_run_at, load.after_id});
  for (; at != state_.scheduled.end(); ++at) {
    if (loaded.jobs.size() == load.jobs_max) {
      loaded.end = false;
      break;
    }
    loaded.jobs.push_back(small(state_.jobs.at(at->second).record));
  }
  return loaded;
}

Loaded MemoryStore::answer(const LoadJobs& load) const {
  LoadedJobs loaded{.ticket = load.ticket, .jobs = {}, .batches = {}};
  std::set<BatchId> batches;
  for (const JobId id : load.ids) {
    const auto found = state_.jobs.find(id);
    if (found == state_.jobs.end()) continue;
    const JobRecord& record = found->second.record;
    loaded.jobs.push_back(load.payloads ? record : small(record));
    batches.insert(record.spec.batch);
  }
  for (const BatchId id : batches)
    if (state_.batches.contains(id)) loaded.batches.push_back(state_.batches.at(id));
  return loaded;
}

Loaded MemoryStore::answer(const LoadRequest& load) const {
  LoadedRequest loaded{.id = load.id, .row = {}};
  const auto found = state_.requests.find(load.id);
  if (found != state_.requests.end()) loaded.row = found->second;
  auto after = state_.requests.upper_bound({load.id.prefix, UINT64_MAX});
  if (after != state_.requests.begin() && (--after)->first.prefix == load.id.prefix)
    loaded.counter_max = after->first.counter;
  return loaded;
}

Loaded MemoryStore::answer(const LoadBatch& load) const {
  return LoadedBatch{.id = load.id, .row = batch(load.id)};
}

std::optional<BatchRow> MemoryStore::batch(BatchId id) const {
  const auto found = state_.batches.find(id);
  if (found != state_.batches.end()) return found->second;
  const auto job = state_.jobs.find(JobId{id.value});
  if (job == state_.jobs.end()) return std::nullopt;
  return implicit_batch(job->second.record);
}

Loaded MemoryStore::answer(const Prune& prune) {
  constexpr std::size_t kLooksPerJob = 10;
  std::vector<JobId> ended;
  std::size_t seen = 0;
  std::size_t young = 0;
  JobId last;
  for (auto at = state_.jobs.lower_bound(prune.from);
       at != state_.jobs.end() && seen < prune.jobs_max * kLooksPerJob && young < prune.jobs_max &&
       ended.size() < prune.jobs_max;
       ++at, ++seen) {
    const JobRecord& job = at->second.record;
    last = job.id;
    young = job.spec.enqueued_at < prune.finished_before ? 0 : young + 1;
    const bool ended_or_not =
        is_final(job.status.state) || instrument::planted(instrument::Mutant::prune_open);
    if (ended_or_not && job.status.finished_at < prune.finished_before) ended.push_back(job.id);
  }
  const bool more = ended.size() == prune.jobs_max || seen == prune.jobs_max * kLooksPerJob;

  Pruned pruned;
  std::map<LaneId, StateDeltas> deltas;
  std::set<BatchId> batches;
  for (const JobId id : ended) {
    const JobRecord& job = state_.jobs.at(id).record;
    --deltas[job.spec.lane].at(static_cast<std::size_t>(job.status.state));
    batches.insert(job.spec.batch);
    erase_job(id);
  }
  for (const auto& [lane, changes] : deltas) pruned.deltas.push_back({lane, changes});
  apply_deltas(pruned.deltas);
  pruned.jobs = ended.size();
  if (more && young < prune.jobs_max) pruned.next = JobId{last.value + 1};
  prune_names(prune, batches, !pruned.next);
  return pruned;
}

void MemoryStore::erase_job(JobId id) {
  remove_from_indexes(state_.jobs.at(id).record);
  state_.jobs.erase(id);
  const auto begin = state_.attempts.lower_bound({id, 0});
  const auto end = state_.attempts.lower_bound({JobId{id.value + 1}, 0});
  state_.attempts.erase(begin, end);
}

void MemoryStore::prune_names(const Prune& prune, const std::set<BatchId>& batches,
                              bool walk_ended) {
  std::erase_if(state_.batches, [&](const auto& entry) {
    const BatchRow& row = entry.second;
    const auto job = state_.ended.lower_bound({row.id, FinishSeq{}, JobId{}});
    const bool has_jobs = job != state_.ended.end() && std::get<0>(*job) == row.id;
    return batches.contains(row.id) && row.created_at < prune.finished_before && row.open == 0 &&
           (row.sealed || row.owner.empty()) && !has_jobs;
  });
  std::erase_if(state_.requests,
                [&](const auto& entry) { return entry.second.at < prune.requests_before; });
  if (!walk_ended) return;
  std::set<WorkerId> needed;
  for (const auto& [id, job] : state_.jobs) needed.insert(job.record.status.worker);
  for (const auto& [key, attempt] : state_.attempts) needed.insert(attempt.worker);
  std::erase_if(state_.workers, [&](const auto& entry) {
    const Time left_at = entry.second.left_at;
    return left_at != Time{} && left_at < prune.finished_before && !needed.contains(entry.first);
  });
}

}  // namespace millrace::broker

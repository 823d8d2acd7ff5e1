// MemoryStore: loads and retention.

#include <algorithm>

#include "broker/store/memory_store.h"
#include "broker/store/prune_rules.h"

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

std::vector<BatchRow> MemoryStore::batches_of(const std::vector<JobRecord>& jobs) const {
  std::set<BatchId> ids;
  for (const JobRecord& job : jobs) ids.insert(job.spec.batch);
  std::vector<BatchRow> batches;
  for (const BatchId id : ids)
    if (state_.batches.contains(id)) batches.push_back(state_.batches.at(id));
  return batches;
}

std::vector<OutputRow> MemoryStore::outputs_of(JobId job) const {
  std::vector<OutputRow> rows;
  for (auto at = state_.job_outputs.lower_bound({job, OutputSeq{}});
       at != state_.job_outputs.end() && at->first == job; ++at)
    rows.push_back(state_.outputs.at(at->second));
  return rows;
}

Loaded MemoryStore::answer(const LoadJobs& load) const {
  LoadedJobs loaded{.ticket = load.ticket, .jobs = {}, .batches = {}, .unique = {}};
  for (const JobId id : load.ids) {
    const auto found = state_.jobs.find(id);
    if (found == state_.jobs.end()) continue;
    const JobRecord& record = found->second.record;
    loaded.jobs.push_back(load.payloads ? record : small(record));
    const auto unique =
        state_.unique.find({state_.lanes.at(record.spec.lane).queue, record.spec.unique_key});
    if (!load.unique || unique == state_.unique.end()) continue;
    if (std::find(loaded.unique.begin(), loaded.unique.end(), unique->second) ==
        loaded.unique.end())
      loaded.unique.push_back(unique->second);
  }
  loaded.batches = batches_of(loaded.jobs);
  return loaded;
}

Loaded MemoryStore::answer(const LoadUnique& load) const {
  LoadedUnique loaded{.ticket = load.ticket, .rows = {}, .jobs = {}, .batches = {}};
  std::set<JobId> holders;
  for (const std::string& key : load.keys) {
    const auto found = state_.unique.find({load.queue, key});
    if (found == state_.unique.end()) continue;
    loaded.rows.push_back(found->second);
    holders.insert(found->second.job);
  }
  for (const JobId id : holders)
    if (state_.jobs.contains(id)) loaded.jobs.push_back(small(state_.jobs.at(id).record));
  loaded.batches = batches_of(loaded.jobs);
  return loaded;
}

Loaded MemoryStore::answer(const LoadExpired& load) const {
  LoadedExpired loaded;
  for (const auto& [expires_at, id] : state_.expiring) {
    if (expires_at > load.upto || loaded.jobs.size() == load.jobs_max) {
      loaded.next = expires_at;
      break;
    }
    loaded.jobs.push_back(small(state_.jobs.at(id).record));
  }
  loaded.batches = batches_of(loaded.jobs);
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
  Pruned pruned = prune_jobs(prune);
  if (!prune_unique(prune) && !pruned.next)
    pruned.next = JobId{std::max<std::uint64_t>(prune.from.value, 1)};
  std::erase_if(state_.requests,
                [&](const auto& entry) { return entry.second.at < prune.requests_before; });
  if (!pruned.next) prune_workers(prune);
  return pruned;
}

Pruned MemoryStore::prune_jobs(const Prune& prune) {
  PruneRules rules(prune);
  const std::size_t rows_max = prune.jobs_max * kPruneLooksPerJob;
  std::vector<JobId> ended;
  std::set<BatchId> batches;
  std::size_t seen = 0;
  std::size_t young = 0;
  JobId last;
  for (auto at = state_.jobs.lower_bound(prune.from);
       at != state_.jobs.end() && seen < rows_max && young < prune.jobs_max && !rules.is_full();
       ++at, ++seen) {
    const JobRecord& job = at->second.record;
    last = job.id;
    young = job.spec.enqueued_at < prune.finished_before || rules.has_excess() ? 0 : young + 1;
    if (!rules.takes(job.spec.lane, job.status.state, job.status.finished_at)) continue;
    std::uint64_t output_bytes = 0;
    for (const OutputRow& row : outputs_of(job.id)) output_bytes += row.data.size();
    rules.take(job.spec.lane, job.status.state, job.payload_bytes + at->second.result.size(),
               output_bytes);
    ended.push_back(job.id);
    batches.insert(job.spec.batch);
  }
  for (const JobId id : ended) erase_job(id);
  Pruned pruned{.deltas = rules.deltas(), .jobs = rules.jobs(), .next = {}};
  apply_deltas(pruned.deltas);
  prune_batches(prune, batches);
  const bool more = rules.is_full() || seen == rows_max;
  if (more && young < prune.jobs_max) pruned.next = JobId{last.value + 1};
  return pruned;
}

bool MemoryStore::prune_unique(const Prune& prune) {
  std::size_t left = prune.jobs_max * kPruneLooksPerJob;
  for (auto at = state_.unique.begin(); at != state_.unique.end() && left != 0;) {
    const Time until = at->second.until;
    const bool old = until != Time{} && until < prune.unique_before;
    if (old) --left;
    at = old ? state_.unique.erase(at) : std::next(at);
  }
  return left != 0;
}

void MemoryStore::erase_job(JobId id) {
  remove_from_indexes(state_.jobs.at(id).record);
  state_.jobs.erase(id);
  const auto begin = state_.attempts.lower_bound({id, 0});
  const auto end = state_.attempts.lower_bound({JobId{id.value + 1}, 0});
  state_.attempts.erase(begin, end);
  for (const OutputRow& row : outputs_of(id)) {
    state_.outputs.erase(row.seq);
    state_.job_outputs.erase({id, row.seq});
  }
}

void MemoryStore::prune_batches(const Prune& prune, const std::set<BatchId>& batches) {
  const Time before = std::max(prune.finished_before, prune.requests_before);
  std::erase_if(state_.batches, [&](const auto& entry) {
    const BatchRow& row = entry.second;
    const auto job = state_.ended.lower_bound({row.id, FinishSeq{}, JobId{}});
    const bool has_jobs = job != state_.ended.end() && std::get<0>(*job) == row.id;
    const bool over = row.sealed || (row.owner.empty() && row.created_at < before);
    return batches.contains(row.id) && row.open == 0 && over && !has_jobs;
  });
}

void MemoryStore::prune_workers(const Prune& prune) {
  std::set<WorkerId> needed;
  for (const auto& [id, job] : state_.jobs) needed.insert(job.record.status.worker);
  for (const auto& [key, attempt] : state_.attempts) needed.insert(attempt.worker);
  std::erase_if(state_.workers, [&](const auto& entry) {
    const Time left_at = entry.second.left_at;
    return left_at != Time{} && left_at < prune.finished_before && !needed.contains(entry.first);
  });
}

}  // namespace millrace::broker

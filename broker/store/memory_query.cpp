// MemoryStore: questions.

#include <algorithm>

#include "broker/store/memory_store.h"

namespace millrace::broker {

ResultsRead MemoryStore::results(const ReadResults& read) {
  ResultsRead answer{read.to, read.batch, read.from, {}, read.from};
  const std::size_t rows_max = std::clamp<std::size_t>(read.rows_max, 1, kPageRowsMax);
  std::size_t bytes = 0;
  auto at = state_.ended.upper_bound({read.batch, read.from, JobId{UINT64_MAX}});
  for (; at != state_.ended.end() && std::get<0>(*at) == read.batch; ++at) {
    if (answer.rows.size() == rows_max || (bytes >= read.bytes_max && !answer.rows.empty()))
      return answer;
    const MemoryState::Job& job = state_.jobs.at(std::get<2>(*at));
    answer.rows.push_back(result_row(job));
    bytes += job.result.size() + job.record.status.error.size();
    answer.upto = job.record.status.finish_seq;
  }
  answer.upto = std::max(answer.upto, state_.last_finish);
  return answer;
}

protocol::ResultRow MemoryStore::result_row(const MemoryState::Job& job) const {
  const JobStatus& status = job.record.status;
  return {job.record.id,     state_.lanes.at(job.record.spec.lane).kind,
          status.state,      job.result,
          status.error,      status.attempts,
          status.finish_seq, elapsed(status.started_at, status.finished_at)};
}

JobRead MemoryStore::job(const ReadJob& read) {
  JobRead answer;
  answer.to = read.to;
  answer.correlation = read.correlation;
  answer.job = read.job;
  answer.result_asked = read.result;
  const auto found = state_.jobs.find(read.job);
  if (found == state_.jobs.end()) return answer;
  answer.exists = true;
  answer.ended = is_final(found->second.record.status.state);
  if (read.result) {
    if (answer.ended) answer.result = result_row(found->second);
    return answer;
  }
  const std::size_t rows_max = std::clamp<std::size_t>(read.rows_max, 1, kPageRowsMax);
  std::size_t bytes = 0;
  for (const OutputRow& row : outputs_of(read.job)) {
    if (row.seq <= read.from) continue;
    answer.more =
        answer.rows.size() == rows_max || (bytes >= read.bytes_max && !answer.rows.empty());
    if (answer.more) return answer;
    answer.rows.push_back({row.seq, row.attempt, row.type, row.data, row.at});
    bytes += row.data.size();
  }
  return answer;
}

protocol::Page MemoryStore::page(const protocol::List& list) {
  protocol::Page page;
  if (!state_.jobs.empty()) page.highest = state_.jobs.rbegin()->first.value;
  if (list.what == protocol::ListWhat::jobs)
    job_page(list, page);
  else
    batch_page(list, page);
  return page;
}

namespace {

/// Calls `take(key, value)` over low < key ≤ high, in the order of the page, until it says false.
template <class Map, class Take>
void walk(const Map& map, const IdRange& range, bool newest_first, const Take& take) {
  using Key = typename Map::key_type;
  auto begin = map.upper_bound(Key{range.low});
  auto end = map.upper_bound(Key{std::max(range.low, range.high)});
  while (begin != end) {
    const auto at = newest_first ? --end : begin++;
    if (!take(at->first, at->second)) return;
  }
}

}  // namespace

void MemoryStore::job_page(const protocol::List& list, protocol::Page& page) const {
  std::vector<LaneId> lanes;
  for (const auto& [id, lane] : state_.lanes)
    if (selects_lane(list.filter, lane)) lanes.push_back(id);
  const JobMatcher matcher(list.filter, std::move(lanes));
  walk(state_.jobs, range_of(list), list.newest_first, [&](JobId id, const auto& job) {
    const JobRecord& record = job.record;
    if (!matcher.matches({id, record.status.state, record.spec.lane, record.spec.batch,
                          record.spec.enqueued_at, record.status.finished_at,
                          record.spec.unique_key}))
      return true;
    page.jobs.push_back(info(job, list.payloads));
    if (page.jobs.size() < rows_of(list)) return true;
    page.next = id.value;
    return false;
  });
}

void MemoryStore::batch_page(const protocol::List& list, protocol::Page& page) const {
  walk(state_.batches, range_of(list), list.newest_first, [&](BatchId id, const BatchRow& row) {
    if (!selects_batch(list.filter, row)) return true;
    page.batches.push_back(to_info(row));
    if (page.batches.size() < rows_of(list)) return true;
    page.next = id.value;
    return false;
  });
}

protocol::JobInfo MemoryStore::info(const MemoryState::Job& job, bool payloads) const {
  protocol::JobInfo info = to_info(job.record);
  if (payloads) {
    info.payload = job.record.payload;
    info.result = job.result;
  }
  const LaneRow& lane = state_.lanes.at(job.record.spec.lane);
  info.queue = lane.queue;
  info.kind = lane.kind;
  const auto worker = state_.workers.find(job.record.status.worker);
  if (worker != state_.workers.end()) info.worker = worker->second.name;
  return info;
}

std::optional<protocol::Item> MemoryStore::item(const protocol::Show& show) {
  protocol::Item item;
  if (!show.job) {
    const auto row = batch(show.batch);
    if (!row) return std::nullopt;
    item.batch.push_back(to_info(*row));
    return item;
  }
  const auto found = state_.jobs.find(show.job);
  if (found == state_.jobs.end()) return std::nullopt;
  item.job.push_back(info(found->second, true));
  for (const OutputRow& row : outputs_of(show.job))
    if (row.type == OutputType::progress) item.job.front().progress = row.data;
  for (auto at = state_.attempts.lower_bound({show.job, 0});
       at != state_.attempts.end() && at->first.first == show.job; ++at) {
    const AttemptRow& row = at->second;
    const auto worker = state_.workers.find(row.worker);
    item.attempts.push_back({row.attempt, worker == state_.workers.end() ? "" : worker->second.name,
                             row.started_at, row.finished_at, row.outcome, row.error});
  }
  if (found->second.record.status.state == JobState::done)
    item.attempts.push_back(last_run(item.job.front()));
  return item;
}

}  // namespace millrace::broker

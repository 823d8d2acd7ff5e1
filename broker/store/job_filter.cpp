#include "broker/store/job_filter.h"

#include <algorithm>
#include <limits>

namespace millrace::broker {
namespace {

bool within(Time time, Time since, Time until) {
  return (since == Time{} || time >= since) && (until == Time{} || time <= until);
}

}  // namespace

JobMatcher::JobMatcher(const protocol::JobFilter& filter, std::vector<LaneId> lanes)
    : filter_(filter), lanes_(std::move(lanes)), ids_(filter.ids) {
  std::sort(ids_.begin(), ids_.end());
}

bool JobMatcher::lets_through(JobState state) const {
  if (filter_.ended && !is_final(state)) return false;
  return filter_.states.empty() ||
         std::find(filter_.states.begin(), filter_.states.end(), state) != filter_.states.end();
}

bool JobMatcher::only_ended() const {
  return filter_.ended || (!filter_.states.empty() &&
                           std::all_of(filter_.states.begin(), filter_.states.end(), is_final));
}

bool JobMatcher::matches(const FilterRow& job) const {
  if (!lets_through(job.state)) return false;
  if (filter_.batch && job.batch != filter_.batch) return false;
  if (!ids_.empty() && !std::binary_search(ids_.begin(), ids_.end(), job.id)) return false;
  if (!filter_.unique_key.empty() && job.unique_key != filter_.unique_key) return false;
  const bool by_lane = !filter_.queue.empty() || !filter_.kind.empty();
  if (by_lane && !std::binary_search(lanes_.begin(), lanes_.end(), job.lane)) return false;
  const Time time = is_final(job.state) ? job.finished_at : job.enqueued_at;
  return within(time, filter_.since, filter_.until);
}

bool selects_lane(const protocol::JobFilter& filter, const LaneRow& lane) {
  return (filter.queue.empty() || filter.queue == lane.queue) &&
         (filter.kind.empty() || filter.kind == lane.kind);
}

bool selects_batch(const protocol::JobFilter& filter, const BatchRow& batch) {
  return (!filter.batch || filter.batch == batch.id) &&
         within(batch.created_at, filter.since, filter.until);
}

IdRange range_of(const protocol::List& list) {
  // Ids are stored as signed numbers.
  constexpr std::uint64_t kIdMax = std::numeric_limits<std::int64_t>::max();
  const std::uint64_t upto = list.upto == 0 ? kIdMax : std::min(list.upto, kIdMax);
  if (!list.newest_first) return {std::min(list.after, kIdMax), upto};
  return {0, list.after == 0 ? upto : std::min(upto, list.after - 1)};
}

std::size_t rows_of(const protocol::List& list) {
  return std::clamp<std::size_t>(list.limit, 1, kPageRowsMax);
}

std::optional<BatchRow> implicit_batch(const JobRecord& job) {
  if (job.spec.batch.value != job.id.value) return std::nullopt;
  BatchRow row;
  row.id = job.spec.batch;
  row.sealed = row.implicit = true;
  row.total = 1;
  row.created_at = job.spec.enqueued_at;
  switch (job.status.state) {
    case JobState::done:
      row.done = 1;
      break;
    case JobState::dead:
      row.dead = 1;
      break;
    case JobState::cancelled:
      row.cancelled = 1;
      break;
    case JobState::expired:
      row.expired = 1;
      break;
    default:
      row.open = 1;
  }
  return row;
}

protocol::BatchInfo to_info(const BatchRow& batch) {
  return {batch.id,   batch.sealed,    batch.total,   batch.open,      batch.done,
          batch.dead, batch.cancelled, batch.expired, batch.created_at};
}

protocol::JobInfo to_info(const JobRecord& job) {
  protocol::JobInfo info;
  info.job = job.id;
  info.state = job.status.state;
  info.priority = job.spec.priority;
  info.error = job.status.error;
  info.deliveries = job.status.deliveries;
  info.attempts = job.status.attempts;
  info.max_attempts = job.spec.max_attempts;
  info.crashes = job.status.crashes;
  info.crashes_max = job.spec.crashes_max;
  info.retry = job.spec.retry;
  info.batch = job.spec.batch;
  info.replay_of = job.spec.replay_of;
  info.enqueued_at = job.spec.enqueued_at;
  info.run_at = job.status.run_at;
  info.started_at = job.status.started_at;
  info.finished_at = job.status.finished_at;
  info.timeout = job.spec.timeout;
  info.cursor = job.status.finish_seq;
  info.expires_at = job.spec.expires_at;
  info.unique_key = job.spec.unique_key;
  info.unique_held = job.status.unique_held;
  return info;
}

protocol::AttemptInfo last_run(const protocol::JobInfo& job) {
  return {job.attempts + job.crashes, job.worker, job.started_at, job.finished_at, "ack", {}};
}

Duration elapsed(Time started_at, Time finished_at) {
  if (started_at == Time{} || finished_at < started_at) return {};
  return finished_at - started_at;
}

}  // namespace millrace::broker

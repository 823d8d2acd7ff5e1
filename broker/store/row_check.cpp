#include "broker/store/row_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace millrace::broker {
namespace {

constexpr std::array<std::string_view, 4> kOutcomes = {"nack", "reject", "timeout", "crash"};
constexpr int kEpochShift = 40;

std::uint64_t count(const StateCounts& counts, JobState state) {
  return counts.at(static_cast<std::size_t>(state));
}

std::uint64_t open_jobs(const StateCounts& counts) {
  return count(counts, JobState::blocked) + count(counts, JobState::scheduled) +
         count(counts, JobState::ready) + count(counts, JobState::leased);
}

std::uint64_t all_jobs(const StateCounts& counts) {
  std::uint64_t sum = 0;
  for (const std::uint64_t one : counts) sum += one;
  return sum;
}

std::int64_t ms(Time time) { return time.time_since_epoch().count(); }

// ---- the limits that a job's counters are held against

int attempts_max(const JobRecord& job) { return job.spec.max_attempts; }
int crashes_max(const JobRecord& job) { return job.spec.crashes_max; }

}  // namespace

RowCheck::RowCheck(const Marks& marks, RowCheckOptions options, ViolationSink sink)
    : marks_(marks), options_(options), sink_(std::move(sink)) {}

template <class... Values>
void RowCheck::require(bool holds, const char* rule, const char* text, const Values&... values) {
  if (!holds) sink_({rule, fmt::format(fmt::runtime(text), values...)});
}

void RowCheck::add(const LaneRow& lane) {
  lanes_[lane.id].row = lane;
  queue_open_.try_emplace(lane.queue);
}

void RowCheck::add(const QueueRow& queue) {
  queues_.push_back(queue);
  require(queue.state <= QueueState::drained, "queue", "queue {} has state {}, which is none",
          queue.name, static_cast<int>(queue.state));
  require(queue.generation >= 1, "queue", "queue {} is in generation {}", queue.name,
          queue.generation);
}

void RowCheck::add(const BatchRow& batch) { batches_[batch.id].row = batch; }
void RowCheck::add(const WorkerRow& worker) { workers_.insert(worker.id); }

void RowCheck::add(const RequestRow& request) {
  if (request.count > 0) requests_.push_back(request);  // else it only sealed a batch
}

void RowCheck::add(const UniqueRow& key) {
  keys_.emplace(std::pair(key.queue, key.key), key);
  require(key.job <= marks_.last_job, "unique", "key `{}` of queue {} is held by job {}, above {}",
          key.key, key.queue, key.job.value, marks_.last_job.value);
}

void RowCheck::add(const OutputRow& output) {
  const auto seq = output.seq.value;
  require(jobs_.contains(output.job), "output", "output {} is of job {}, which is not there", seq,
          output.job.value);
  require(output.seq <= marks_.last_output, "output", "output {} is above the highest given, {}",
          seq, marks_.last_output.value);
  std::uint64_t& last = outputs_[{output.job, output.lease}];
  require(output.n > last, "output", "output {} of job {} is number {} of its run, after {}", seq,
          output.job.value, output.n, last);
  last = output.n;
}

void RowCheck::add(const JobRecord& job, const Payload& result, std::span<const AttemptRow> runs) {
  const bool has_result = !result.empty();
  jobs_.insert(job.id);
  const auto lane = lanes_.find(job.spec.lane);
  if (lane != lanes_.end() && is_final(job.status.state))
    lane->second.bytes.at(static_cast<std::size_t>(job.status.state)) +=
        job.payload_bytes + result.size();
  check_key(job);
  check_names(job);
  check_end(job);
  check_lease(job);
  check_counters(job);
  check_runs(job, runs);
  check_outcome(job, has_result, runs);
  if (options_.times) check_times(job, runs);
}

void RowCheck::add_orphan(const AttemptRow& run) {
  require(false, "run", "run {} belongs to job {}, which is not there", run.attempt, run.job.value);
}

void RowCheck::check_names(const JobRecord& job) {
  const auto id = job.id.value;
  const auto state = static_cast<std::size_t>(job.status.state);
  require(job.id > last_, "id", "job {} is there twice", id);
  last_ = job.id;
  require(job.id <= marks_.last_job, "id", "job {} is above the highest id given, {}", id,
          marks_.last_job.value);
  require(job.spec.replay_of < job.id, "id", "job {} is a replay of {}, which came later", id,
          job.spec.replay_of.value);

  const auto lane = lanes_.find(job.spec.lane);
  require(lane != lanes_.end(), "lane", "job {} is in lane {}, which is not there", id,
          job.spec.lane.value);
  if (lane != lanes_.end()) {
    ++lane->second.rows.at(state);
    if (!is_final(job.status.state)) ++queue_open_[lane->second.row.queue];
  }
  const auto batch = batches_.find(job.spec.batch);
  if (batch != batches_.end()) ++batch->second.rows.at(state);
  // A job that was enqueued alone is its own batch and has no row there.
  require(batch != batches_.end() || job.spec.batch.value == id, "batch",
          "job {} is in batch {}, which is not there", id, job.spec.batch.value);
  require(job.spec.batch.value <= id, "batch",
          "job {} is in batch {}, which is named after a later job", id, job.spec.batch.value);
}

void RowCheck::check_end(const JobRecord& job) {
  const JobStatus& status = job.status;
  const bool ended = is_final(status.state);
  require(ended == static_cast<bool>(status.finish_seq), "end", "job {} is {} with finish_seq {}",
          job.id.value, to_string(status.state), status.finish_seq.value);
  require(ended == (status.finished_at != Time{}), "end", "job {} is {} with finished_at {}",
          job.id.value, to_string(status.state), ms(status.finished_at));
  if (status.finish_seq) ends_.emplace_back(status.finish_seq, job.id);
}

void RowCheck::check_lease(const JobRecord& job) {
  const JobStatus& status = job.status;
  const auto id = job.id.value;
  const std::uint64_t epoch = status.lease.value >> kEpochShift;
  require(static_cast<bool>(status.lease) == (status.deliveries > 0), "lease",
          "job {} was delivered {} times and names lease {}", id, status.deliveries,
          status.lease.value);
  require(epoch <= marks_.epoch, "lease", "job {} names lease {} of epoch {}, but it is epoch {}",
          id, status.lease.value, epoch, marks_.epoch);
  if (status.state != JobState::leased) return;
  require(static_cast<bool>(status.lease), "lease", "job {} is leased without a lease", id);
  require(workers_.contains(status.worker), "lease", "job {} is leased to worker {}, unknown here",
          id, status.worker.value);
  const auto [holder, fresh] = leases_.try_emplace(status.lease, job.id);
  require(fresh, "lease", "jobs {} and {} hold the same lease {}", holder->second.value, id,
          status.lease.value);
}

void RowCheck::check_counters(const JobRecord& job) {
  const JobStatus& status = job.status;
  const auto id = job.id.value;
  require(status.attempts >= status.attempts_base && status.attempts_base >= 0 &&
              status.crashes >= status.crashes_base && status.crashes_base >= 0,
          "attempts",
          "job {} counts {} attempts and {} crashes, fewer than at its redrive: {} and {}", id,
          status.attempts, status.crashes, status.attempts_base, status.crashes_base);
  require(status.attempts - status.attempts_base <= attempts_max(job), "attempts",
          "job {} had {} attempts, {} were allowed", id, status.attempts - status.attempts_base,
          attempts_max(job));
  require(status.crashes - status.crashes_base <= crashes_max(job), "attempts",
          "job {} crashed {} times, {} were allowed", id, status.crashes - status.crashes_base,
          crashes_max(job));
  require(status.attempts + status.crashes <= status.deliveries, "attempts",
          "job {} ran {} + {} times and was delivered only {} times", id, status.attempts,
          status.crashes, status.deliveries);
}

void RowCheck::check_runs(const JobRecord& job, std::span<const AttemptRow> runs) {
  const JobStatus& status = job.status;
  const auto id = job.id.value;
  // The last run of a done job is told by the job's own row.
  const int told_here = status.state == JobState::done ? 1 : 0;
  const int expected = status.attempts + status.crashes - told_here;
  require(static_cast<int>(runs.size()) == expected, "run",
          "job {} counts {} runs that failed, {} are recorded", id, expected, runs.size());
  int number = 0;
  int crashes = 0;
  for (const AttemptRow& run : runs) {
    require(run.attempt == ++number, "run", "run {} of job {} stands at place {}", run.attempt, id,
            number);
    require(std::find(kOutcomes.begin(), kOutcomes.end(), run.outcome) != kOutcomes.end(), "run",
            "run {} of job {} ended with `{}`, which is no outcome", run.attempt, id, run.outcome);
    if (run.outcome == "crash") ++crashes;
  }
  require(crashes == status.crashes, "run", "job {} counts {} crashes, {} are recorded", id,
          status.crashes, crashes);
}

void RowCheck::check_times(const JobRecord& job, std::span<const AttemptRow> runs) {
  const JobStatus& status = job.status;
  const auto id = job.id.value;
  Time before = job.spec.enqueued_at;
  for (const AttemptRow& run : runs) {
    require(run.started_at <= run.finished_at, "time",
            "run {} of job {} ended at {}, before it started at {}", run.attempt, id,
            ms(run.finished_at), ms(run.started_at));
    require(before <= run.finished_at, "time",
            "run {} of job {} ended at {}, before what came before it at {}", run.attempt, id,
            ms(run.finished_at), ms(before));
    before = run.finished_at;
  }
  if (!is_final(status.state) || status.finished_at == Time{}) return;
  require(before <= status.finished_at, "time", "job {} ended at {}, before its last run at {}", id,
          ms(status.finished_at), ms(before));
  require(status.started_at <= status.finished_at, "time",
          "job {} ended at {}, before it started at {}", id, ms(status.finished_at),
          ms(status.started_at));
}

void RowCheck::check_outcome(const JobRecord& job, bool has_result,
                             std::span<const AttemptRow> runs) {
  const JobStatus& status = job.status;
  const auto id = job.id.value;
  require(!has_result || status.state == JobState::done, "outcome", "job {} is {} and has a result",
          id, to_string(status.state));
  if (status.state == JobState::done) {
    require(status.attempts > status.attempts_base, "outcome", "job {} is done without an attempt",
            id);
    require(status.error.empty(), "outcome", "job {} is done and has an error", id);
  } else if (status.state == JobState::dead) {
    const bool used_up = status.attempts - status.attempts_base >= attempts_max(job) ||
                         status.crashes - status.crashes_base >= crashes_max(job);
    const bool rejected = !runs.empty() && runs.back().outcome == "reject";
    require(used_up || rejected, "outcome",
            "job {} is dead after {} of {} attempts and {} of {} crashes, and nobody rejected it",
            id, status.attempts - status.attempts_base, attempts_max(job),
            status.crashes - status.crashes_base, crashes_max(job));
  }
}

void RowCheck::check_key(const JobRecord& job) {
  if (!job.status.unique_held) return;
  const auto id = job.id.value;
  const UniqueScope scope = job.spec.unique_scope;
  require(!is_final(job.status.state) && scope != UniqueScope::ttl &&
              (scope != UniqueScope::queued || job.status.state != JobState::leased),
          "unique", "job {} is {} and holds key `{}` of scope {}", id, to_string(job.status.state),
          job.spec.unique_key, to_string(scope));
  const auto lane = lanes_.find(job.spec.lane);
  if (lane == lanes_.end()) return;
  const auto row = keys_.find({lane->second.row.queue, job.spec.unique_key});
  const bool own = row != keys_.end() && row->second.job == job.id && row->second.until == Time{};
  require(own, "unique", "job {} says that it holds key `{}`, which it does not", id,
          job.spec.unique_key);
  if (own) keys_.erase(row);
}

void RowCheck::finish() {
  for (const auto& [name, key] : keys_)
    require(key.until != Time{}, "unique",
            "key `{}` of queue {} is held by job {}, which does not "
            "know of it",
            key.key, key.queue, key.job.value);
  for (const auto& [id, lane] : lanes_) check_lane(lane);
  for (const auto& [id, batch] : batches_) check_batch(batch);
  for (const QueueRow& queue : queues_) {
    const auto open = queue_open_.find(queue.name);
    require(queue.state != QueueState::drained || open == queue_open_.end() || open->second == 0,
            "drained", "queue {} is drained and has {} open jobs", queue.name,
            open == queue_open_.end() ? 0 : open->second);
  }
  check_ends();
  check_requests();
}

void RowCheck::check_lane(const LaneSeen& lane) {
  for (std::size_t i = 0; i < kJobStateCount; ++i)
    require(lane.row.counts.at(i) == lane.rows.at(i), "lane",
            "lane {} ({}/{}) counts {} {} jobs, there are {}", lane.row.id.value, lane.row.queue,
            lane.row.kind, lane.row.counts.at(i), to_string(static_cast<JobState>(i)),
            lane.rows.at(i));
  for (std::size_t i = 0; i < kJobStateCount; ++i)
    require(lane.row.bytes.at(i) == lane.bytes.at(i), "lane",
            "lane {} ({}/{}) counts {} bytes of {} jobs, there are {}", lane.row.id.value,
            lane.row.queue, lane.row.kind, lane.row.bytes.at(i),
            to_string(static_cast<JobState>(i)), lane.bytes.at(i));
}

void RowCheck::check_batch(const BatchSeen& batch) {
  const BatchRow& row = batch.row;
  const auto id = row.id.value;
  require(row.total == row.open + row.done + row.dead + row.cancelled + row.expired, "batch",
          "batch {} counts {} jobs, which is not {} open + {} done + {} dead + {} cancelled + {} "
          "expired",
          id, row.total, row.open, row.done, row.dead, row.cancelled, row.expired);
  require(row.open == open_jobs(batch.rows), "batch", "batch {} counts {} open jobs, there are {}",
          id, row.open, open_jobs(batch.rows));
  // A batch counts its jobs for ever, also those that retention has removed.
  const bool complete = options_.complete || all_jobs(batch.rows) == row.total;
  const auto check_final = [&](JobState state, std::uint64_t counted) {
    const std::uint64_t rows = count(batch.rows, state);
    require(complete ? rows == counted : rows <= counted, "batch",
            "batch {} counts {} {} jobs, there are {}", id, counted, to_string(state), rows);
  };
  check_final(JobState::done, row.done);
  check_final(JobState::dead, row.dead);
  check_final(JobState::cancelled, row.cancelled);
  check_final(JobState::expired, row.expired);
}

void RowCheck::check_ends() {
  std::sort(ends_.begin(), ends_.end());
  for (std::size_t i = 1; i < ends_.size(); ++i)
    require(ends_[i - 1].first != ends_[i].first, "cursor",
            "jobs {} and {} both ended at cursor {}", ends_[i - 1].second.value,
            ends_[i].second.value, ends_[i].first.value);
  if (ends_.empty()) return;
  require(ends_.back().first <= marks_.last_finish, "cursor",
          "job {} ended at cursor {}, above the highest one given, {}", ends_.back().second.value,
          ends_.back().first.value, marks_.last_finish.value);
}

void RowCheck::check_requests() {
  std::sort(requests_.begin(), requests_.end(),
            [](const RequestRow& a, const RequestRow& b) { return a.first < b.first; });
  JobId end{1};  // of the ids that earlier requests were answered with
  for (const RequestRow& request : requests_) {
    require(request.first >= end, "request", "two requests were answered with id {}",
            request.first.value);
    end = std::max(end, JobId{request.first.value + request.count});
  }
  require(end.value <= marks_.last_job.value + 1, "request",
          "a request was answered with id {}, the highest one given is {}", end.value - 1,
          marks_.last_job.value);
}

}  // namespace millrace::broker

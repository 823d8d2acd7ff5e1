#include "tests/simulation/decisions.h"

namespace millrace::simulation {
namespace {

constexpr Duration kSlewMax{100};  ///< a step of the wall clock that brokers do not follow

Duration wall_offset(Now now) { return now.utc.time_since_epoch() - now.mono.time_since_epoch(); }

std::int64_t ms(Time time) { return time.time_since_epoch().count(); }

bool was_replaced(const broker::JobStatus& status) {
  return status.state == JobState::cancelled && status.error.starts_with("replaced: by job ");
}

/// It keeps its key from others, whatever the rows of keys say.
bool holds_key(const Decisions::Fate& fate) {
  if (fate.spec.unique_key.empty() || is_final(fate.state)) return false;
  if (fate.spec.unique_scope == UniqueScope::active) return true;
  return fate.spec.unique_scope == UniqueScope::queued && fate.deliveries == 0;
}

}  // namespace

// ---- when it is decided ------------------------------------------------------------------------

void Decisions::begin_life(Now now) {
  offset_ = last_offset_ = wall_offset(now);
  slack_ = {};
}

void Decisions::looks_at_clocks(Now now) {
  const Duration offset = wall_offset(now);
  const Duration step = std::chrono::abs(offset - std::exchange(last_offset_, offset));
  if (step < kSlewMax) slack_ += step;
}

void Decisions::decided(const broker::WriteBatch& writes, Now now) {
  for (const broker::LaneRow& lane : writes.lanes) queues_[lane.id] = lane.queue;
  for (const broker::JobInsert& job : writes.inserts) {
    decided_[job.id] = {.spec = job.spec,
                        .queue = queues_.at(job.spec.lane),
                        .decided_at = now.mono,
                        .steady_at = steady(now),
                        .slack = slack_,
                        .ended_at = {}};
    decide(job.id, job.spec, job.status, LeaseId{}, now);
  }
  for (const broker::JobUpdate& job : writes.updates) {
    const auto young = decided_.find(job.id);
    const auto known = fates_.find(job.id);
    if (young == decided_.end() && known == fates_.end()) continue;
    decide(job.id, (young != decided_.end() ? young : known)->second.spec, job.status,
           job.from_lease, now);
  }
  check_ttl(writes, now);
}

void Decisions::decide(JobId id, const broker::JobSpec& spec, const broker::JobStatus& status,
                       LeaseId lease_before, Now now) const {
  const Time at = steady(now);
  if (status.state == JobState::expired)
    require(spec.expires_at != Time{} && spec.expires_at <= at + slack_,
            "job {} expires at {}, its time is {}", id.value, ms(at), ms(spec.expires_at));
  if (status.state == JobState::leased && status.lease != lease_before)
    require(spec.expires_at == Time{} || spec.expires_at > at - slack_,
            "job {} is given away at {}, its time was over at {}", id.value, ms(at),
            ms(spec.expires_at));
}

/// Whoever takes a key of scope ttl before its time must have replaced its holder.
void Decisions::check_ttl(const broker::WriteBatch& writes, Now now) {
  std::set<JobId> replaced = redriven_;
  for (const broker::JobInsert& job : writes.inserts)
    if (was_replaced(job.status)) replaced.insert(job.id);
  for (const broker::JobUpdate& job : writes.updates)
    if (was_replaced(job.status)) replaced.insert(job.id);
  std::erase_if(ttl_, [&](const auto& entry) { return replaced.contains(entry.second.job); });
  for (const broker::JobInsert& job : writes.inserts) {
    const auto held = ttl_.find({queues_.at(job.spec.lane), job.spec.unique_key});
    if (job.spec.unique_key.empty() || held == ttl_.end()) continue;
    require(held->second.job == job.id || held->second.until <= steady(now) + slack_,
            "job {} gets key `{}`, which job {} has until {}; it is {}", job.id.value,
            job.spec.unique_key, held->second.job.value, ms(held->second.until), ms(steady(now)));
  }
  for (const broker::UniqueRow& row : writes.unique_acquired) {
    ttl_.erase({row.queue, row.key});
    if (row.until != Time{}) ttl_[{row.queue, row.key}] = row;
  }
}

// ---- when it is on disk ------------------------------------------------------------------------

void Decisions::committed(const broker::WriteBatch& writes, Now now) {
  for (const broker::OutputRow& row : writes.outputs) {
    const Fate* fate = find(row.job);
    require(fate != nullptr && fate->state == JobState::leased && fate->lease == row.lease,
            "output {} of lease {} is kept for job {}, whose lease is {}", row.n, row.lease.value,
            row.job.value, fate == nullptr ? 0 : fate->lease.value);
  }
  for (const broker::JobInsert& job : writes.inserts) {
    auto node = decided_.extract(job.id);
    require(!node.empty(), "job {} is stored, but was never decided", job.id.value);
    fates_[job.id] = std::move(node.mapped());
    note(job.id, job.status, now);
  }
  for (const broker::JobUpdate& job : writes.updates) note(job.id, job.status, now);
  for (const broker::KindRow& kind : writes.kinds)
    if (kind.options.not_replayable) not_replayable_.try_emplace(kind.name, now.mono);
  check_holders();
}

void Decisions::note(JobId id, const broker::JobStatus& status, Now now) {
  Fate& fate = fates_[id];
  if (!is_final(status.state)) {
    fate.ended_at.reset();
  } else if (!is_final(fate.state) || !fate.ended_at) {
    fate.ended_at = now.mono;
  }
  fate.state = status.state;
  fate.lease = status.lease;
  fate.deliveries = status.deliveries;
  hold(id, fate);
}

void Decisions::hold(JobId id, const Fate& fate) {
  if (fate.spec.unique_key.empty()) return;
  const Name name{fate.queue, fate.spec.unique_key};
  if (holds_key(fate)) {
    holders_[name].insert(id);
    touched_.insert(name);
  } else {
    holders_[name].erase(id);
  }
}

void Decisions::check_holders() {
  for (const Name& name : std::exchange(touched_, {})) {
    const std::set<JobId>& holders = holders_[name];
    require(holders.size() < 2, "jobs {} and {} both have key `{}` of queue {}",
            holders.begin()->value, holders.rbegin()->value, name.second, name.first);
  }
}

void Decisions::restarted(const broker::MemoryState& rows, Now now) {
  decided_.clear();
  holders_.clear();
  ttl_.clear();
  for (const auto& [id, lane] : rows.lanes) queues_[id] = lane.queue;
  for (const auto& [name, row] : rows.unique)
    if (row.until != Time{}) ttl_[name] = row;
  for (const auto& [id, job] : rows.jobs) {
    Fate& fate = fates_[id];
    const broker::JobSpec& spec = job.record.spec;
    // An id that was decided but not kept was given again.
    if (fate.spec.enqueued_at != spec.enqueued_at) fate.decided_at = {};
    fate.spec = spec;
    fate.queue = queues_.at(spec.lane);
    note(id, job.record.status, now);
  }
  check_holders();
}

}  // namespace millrace::simulation

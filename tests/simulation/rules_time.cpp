#include <algorithm>

#include "common/retry.h"
#include "tests/simulation/rules.h"

namespace millrace::simulation {
namespace {

/// What is stored as UTC comes back into memory while the clock was set: after a restart, or when
/// the window was too small.
bool clock_matters(const History& history, Instant from, Instant to) {
  const bool small = history.world().config().limits.window_jobs_max < Limits{}.window_jobs_max;
  return history.world().clock_was_set(from, to) && (small || !history.broker_lived(from, to));
}

void check_first(const History& history, JobId id, const JobSeen& job, const LeaseSeen& lease) {
  if (job.redrives_sent != 0) return;  // made ready at once
  if (job.spec.run_at != Time{}) {
    require(history.world().utc_max() >= job.spec.run_at, "job {} ran before its time", id.value);
    return;
  }
  if (clock_matters(history, job.sent_at, lease.received_at)) return;
  require(lease.stamp.sent_at >= job.sent_at + job.spec.delay,
          "job {} was delivered {} ms after it was asked for, with a delay of {} ms", id.value,
          (lease.stamp.sent_at - job.sent_at).count(), job.spec.delay.count());
}

/// The back-off after so many failures is no shorter.
Duration least_delay(const JobSeen& job, int failures) {
  RetryPolicy policy;
  if (!job.spec.retry.empty()) {
    policy = parse_retry(job.spec.retry).value();
  } else if (job.spec.backoff > Duration{0}) {
    policy.first = job.spec.backoff;
  }
  return policy.delay(failures, 0.0);
}

/// A failed run waits for its delay, or for the least delay that its policy may draw.
void check_again(const History& history, JobId id, const JobSeen& job, const LeaseSeen& failed,
                 const LeaseSeen& next) {
  if (failed.settled != Verb::nack || failed.crashed || job.redrives_sent != 0) return;
  if (clock_matters(history, failed.first_outcome_at, next.received_at)) return;
  Duration wait = Duration::max();
  for (const auto& [verb, outcome] : failed.outcomes) {
    if (verb != Verb::nack) continue;
    const bool own = outcome.delay >= Duration{0};
    wait = std::min(wait, own ? outcome.delay : least_delay(job, failed.attempt));
  }
  require(next.stamp.sent_at >= failed.first_outcome_at + wait,
          "job {} ran again {} ms after it failed, instead of {} ms", id.value,
          (next.stamp.sent_at - failed.first_outcome_at).count(), wait.count());
}

/// The earliest moment at which a lease can have been given: its job was asked for, and its last
/// run had ended.
Instant not_before(const History& history, const JobSeen& job, LeaseId id) {
  Instant at = job.sent_at;
  const auto here = job.leases.find(id);
  if (here != job.leases.begin()) {
    const LeaseSeen& previous = history.leases.at(*std::prev(here));
    if (previous.settled) at = std::max(at, previous.first_outcome_at);
  }
  return at;
}

/// The first delivery of a job that could be given as soon as it was acknowledged.
struct Waiter {
  JobId id;
  const JobSeen* job;
  LeaseId lease;
};

std::vector<Waiter> waiters(const History& history) {
  std::vector<Waiter> all;
  for (const auto& [id, job] : history.jobs) {
    if (job.spec.delay != Duration{0} || job.spec.run_at != Time{} || job.leases.empty()) continue;
    if (job.cancels_sent != 0 || job.redrives_sent != 0) continue;  // not ready all the time
    const LeaseId lease = *job.leases.begin();
    if (history.leases.at(lease).deliveries == 1) all.push_back({id, &job, lease});
  }
  return all;
}

}  // namespace

void rule_not_before(const Evidence& evidence) {
  const History& history = evidence.history;
  for (const auto& [id, job] : history.jobs) {
    const LeaseSeen* previous = nullptr;
    for (const LeaseId lease_id : job.leases) {
      const LeaseSeen& lease = history.leases.at(lease_id);
      if (previous == nullptr) {
        check_first(history, id, job, lease);
      } else if (lease.deliveries == previous->deliveries + 1) {
        check_again(history, id, job, *previous, lease);
      }
      previous = &lease;
    }
  }
}

void rule_timeouts(const Evidence& evidence) {
  for (const auto& [id, lease] : evidence.history.leases) {
    if (!lease.timed_out_at || !lease.started_at) continue;
    require(*lease.timed_out_at - *lease.started_at >= lease.timeout,
            "lease {} was ended {} ms after its start, its timeout is {} ms", id.value,
            (*lease.timed_out_at - *lease.started_at).count(), lease.timeout.count());
  }
}

void rule_order(const Evidence& evidence) {
  const History& history = evidence.history;
  const std::vector<Waiter> waiting = waiters(history);
  Instant given_at{};  // no lease from here on can have been given before
  for (const auto& [lease_id, lease] : history.leases) {
    const auto found = history.jobs.find(lease.job);
    if (found == history.jobs.end()) continue;
    const JobSeen& job = found->second;
    given_at = std::max(given_at, not_before(history, job, lease_id));
    for (const Waiter& other : waiting) {
      if (other.lease <= lease_id || other.job->acked_at >= given_at) continue;
      if (other.job->queue != job.queue || other.job->spec.kind != job.spec.kind) continue;
      const bool first =
          std::pair(other.job->spec.priority, other.id) < std::pair(job.spec.priority, lease.job);
      require(!first, "job {} was given before job {}, which was waiting and comes first",
              lease.job.value, other.id.value);
    }
  }
}

}  // namespace millrace::simulation

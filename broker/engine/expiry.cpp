// The end of waiting: jobs whose expires_at has come while nobody runs them. One load finds those
// that are due, in memory or not; each return to waiting looks for itself.

#include <algorithm>

#include "broker/engine/core.h"

namespace millrace::broker {
namespace {

constexpr std::size_t kExpiredPage = 500;

void arm(Core& core, Time expires_at, Now now) {
  const Instant at = now.mono + std::max(Duration{0}, expires_at - core.steady(now));
  core.expiry_at = std::min(core.expiry_at, at);
}

bool is_waiting(JobState state) { return !is_final(state) && state != JobState::leased; }

}  // namespace

bool is_past(const Core& core, const Job& job, Now now) {
  return job.spec.expires_at != Time{} && job.spec.expires_at <= core.steady(now);
}

void arm_expiry(Core& core, const Job& job, Now now) {
  if (job.spec.expires_at != Time{}) arm(core, job.spec.expires_at, now);
}

void expire(Core& core, JobId id, Job& job, Now now) {
  core.touch(id, job);
  job.status.error = "expired: it waited beyond its expires_at";
  core.apply(id, job, JobEvent::expire, now);
}

void wait_again(Core& core, JobId id, Job& job, JobEvent event, Now now) {
  core.apply(id, job, event, now);
  if (is_past(core, job, now)) {
    expire(core, id, job, now);
  } else {
    arm_expiry(core, job, now);
  }
}

void expire_jobs(Core& core, Now now) {
  if (core.expiry_loading || now.mono < core.expiry_at) return;
  core.expiry_loading = true;
  core.expiry_at = Instant::max();
  core.load(LoadExpired{core.steady(now), kExpiredPage});
}

void on_loaded_expired(Core& core, LoadedExpired loaded, std::uint64_t batch, Now now) {
  core.expiry_loading = false;
  std::vector<JobId> ids;
  ids.reserve(loaded.jobs.size());
  for (const JobRecord& record : loaded.jobs) ids.push_back(record.id);
  adopt_visitors(core, loaded.jobs, loaded.batches, batch);
  for (const JobId id : ids) {
    Job* job = core.find_job(id);
    if (job != nullptr && is_waiting(job->status.state) && is_past(core, *job, now))
      expire(core, id, *job, now);
  }
  if (ids.size() == kExpiredPage) {
    core.expiry_at = now.mono;
  } else if (loaded.next) {
    arm(core, *loaded.next, now);
  }
}

}  // namespace millrace::broker

#include "producer/replay_run.h"

#include <map>

#include "common/util/random.h"

namespace millrace::producer {
namespace {

/// The jobs of these ids that are still there, with their results.
Result<std::map<JobId, protocol::JobInfo>> read_jobs(Client& client, std::vector<JobId> ids) {
  std::map<JobId, protocol::JobInfo> jobs;
  protocol::List request{.filter = {}, .limit = kFilterPageJobs, .payloads = true};
  request.filter.ids = std::move(ids);
  do {
    auto page = client.call<protocol::Page>(request);
    if (!page) return tl::make_unexpected(page.error());
    for (protocol::JobInfo& job : page->jobs) {
      const JobId id = job.job;
      jobs.emplace(id, std::move(job));
    }
    request.after = page->next;
  } while (request.after != 0);
  return jobs;
}

Status verify_page(Client& client, std::vector<protocol::JobInfo> replays,
                   const std::function<Status(const ReplayDifference&)>& difference) {
  std::vector<JobId> ids;
  for (const protocol::JobInfo& replay : replays)
    if (replay.replay_of) ids.push_back(replay.replay_of);
  if (ids.empty()) return {};
  const auto originals = read_jobs(client, std::move(ids));
  if (!originals) return tl::make_unexpected(originals.error());
  for (protocol::JobInfo& replay : replays) {
    const auto found = originals->find(replay.replay_of);
    if (found == originals->end()) {
      if (Status good = difference({std::move(replay), std::nullopt}); !good) return good;
    } else if (!ended_alike(replay, found->second)) {
      if (Status good = difference({std::move(replay), found->second}); !good) return good;
    }
  }
  return {};
}

}  // namespace

ReplayRun::ReplayRun(Client& client, bool force)
    : client_(client), force_(force), prefix_(random_u64()) {}

Result<protocol::Enqueued> ReplayRun::replay(std::vector<JobId> jobs, bool last) {
  auto reply = client_.call<protocol::Enqueued>(protocol::Replay{.request = {prefix_, ++counter_},
                                                                 .batch = batch_,
                                                                 .seal = last,
                                                                 .jobs = std::move(jobs),
                                                                 .force = force_});
  if (!reply) return reply;
  if (!batch_) batch_ = reply->batch;
  count_ += reply->count;
  return reply;
}

bool ended_alike(const protocol::JobInfo& replay, const protocol::JobInfo& original) {
  if (replay.state != original.state) return false;
  if (replay.state == JobState::done) return replay.result == original.result;
  return error_word(replay.error) == error_word(original.error);
}

Result<std::uint64_t> verify_replays(
    Client& client, BatchId batch,
    const std::function<Status(const ReplayDifference&)>& difference) {
  std::uint64_t compared = 0;
  protocol::List request{.filter = {}, .limit = kFilterPageJobs, .payloads = true};
  request.filter.batch = batch;
  request.filter.ended = true;
  do {
    auto page = client.call<protocol::Page>(request);
    if (!page) return tl::make_unexpected(page.error());
    compared += page->jobs.size();
    if (Status good = verify_page(client, std::move(page->jobs), difference); !good)
      return tl::make_unexpected(good.error());
    request.after = page->next;
  } while (request.after != 0);
  return compared;
}

std::string_view error_word(std::string_view error) {
  return error.substr(0, error.find_first_of(" :\n"));
}

}  // namespace millrace::producer

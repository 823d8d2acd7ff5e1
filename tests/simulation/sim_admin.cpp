#include "tests/simulation/sim_admin.h"

#include <algorithm>

namespace millrace::simulation {
namespace {

constexpr Duration kMeddleMin{100};
constexpr Duration kMeddleMax{4000};
constexpr std::size_t kJobsMax = 4;

}  // namespace

SimAdmin::SimAdmin(World& world, std::uint64_t number)
    : SimPeer(world, protocol::Role::producer, number) {
  begin();
}

void SimAdmin::on_tick() {
  if (world_.faulty(Fault::dismiss) && world_.now().mono >= next_dismissal_at_ && pending() <= 3) {
    next_dismissal_at_ = world_.now().mono + random_.spread(kMeddleMin, 3 * kMeddleMax);
    request(protocol::Stats{});
  }
  if (!world_.faulty(Fault::admin) || world_.now().mono < next_at_ || pending() > 3) return;
  next_at_ = world_.now().mono + random_.spread(kMeddleMin, kMeddleMax);
  meddle();
}

void SimAdmin::meddle() {
  const double what = random_.real();
  if (what < 0.35) return cancel_some();
  if (what < 0.5) return redrive_some();
  if (what < 0.65) return replay_some();
  if (what < 0.72) {
    request(protocol::Pause{some_queue()});
  } else if (what < 0.83) {
    request(protocol::Unpause{some_queue()});
  } else if (what < 0.88) {
    close(some_queue(), 0);
  } else if (what < 0.95) {
    request(protocol::Open{some_queue()});
  } else {
    request(protocol::Stats{});
  }
}

std::vector<JobId> SimAdmin::some_jobs() {
  const std::vector<JobId>& known = world_.history().job_ids;
  std::vector<JobId> jobs;
  for (std::size_t i = 0, count = 1 + random_.below(kJobsMax); i < count && !known.empty(); ++i) {
    // Mostly young ones, which have not ended.
    const std::size_t back = random_.below(std::min<std::size_t>(known.size(), 20));
    const JobId job = known[known.size() - 1 - back];
    if (world_.history().jobs.at(job).spec.kind == "poison") continue;
    if (std::find(jobs.begin(), jobs.end(), job) == jobs.end()) jobs.push_back(job);
  }
  return jobs;
}

void SimAdmin::dismiss_one(const protocol::Report& report) {
  if (!report.workers.empty()) request(protocol::Dismiss{{random_.pick(report.workers).worker}});
}

void SimAdmin::cancel_some() {
  const std::vector<JobId> jobs = some_jobs();
  for (const JobId job : jobs) world_.history().cancel_sent(job);
  if (!jobs.empty()) request(protocol::Cancel{jobs, {}, {}});
}

void SimAdmin::redrive_some() {
  const std::vector<JobId> jobs = some_jobs();
  for (const JobId job : jobs) world_.history().redrive_sent(job);
  if (!jobs.empty()) request(protocol::Redrive{jobs});
}

void SimAdmin::replay_some() {
  protocol::Replay replay{{number(), ++counter_}, {}, true, some_jobs()};
  replay.force = world_.config().faults.has(Fault::kinds) && random_.chance(0.5);
  if (replay.jobs.empty()) return;
  world_.history().request_sent(replay);
  request(std::move(replay));
}

void SimAdmin::close(const std::string& queue, std::uint64_t generation) {
  request(protocol::Close{queue, true, generation});
}

// ---- the end -----------------------------------------------------------------------------------

void SimAdmin::put_in_order() {
  for (const char* queue : {"a", "b"}) request(protocol::Unpause{queue});
}

void SimAdmin::close_all() {
  closing_ = true;
  for (const char* queue : {"a", "b"}) {
    to_drain_.emplace(queue, 0);
    close(queue, 0);
  }
  request(protocol::Stats{});
}

void SimAdmin::on_connected(const protocol::Welcome&) {
  for (const auto& [queue, generation] : to_drain_)
    if (generation != 0) close(queue, generation);
}

void SimAdmin::on_reply(std::uint64_t, const protocol::Message& asked, protocol::Message reply,
                        Stamp stamp) {
  if (const auto* error = std::get_if<protocol::ErrorReply>(&reply)) {
    const auto code = error_code(error->code);
    require(code != ErrorCode::internal && code != ErrorCode::bad_format,
            "the admin gets an error: {}: {}", error->code, error->message);
    return;
  }
  if (const auto* answer = std::get_if<protocol::Enqueued>(&reply)) {
    world_.history().answered(std::get<protocol::Replay>(asked).request, *answer);
  } else if (const auto* outcomes = std::get_if<protocol::Outcomes>(&reply)) {
    if (std::holds_alternative<protocol::Cancel>(asked)) {
      world_.history().cancelled(*outcomes, stamp);
    } else if (std::holds_alternative<protocol::Redrive>(asked)) {
      world_.history().redriven(*outcomes);
    }
  } else if (const auto* info = std::get_if<protocol::QueueInfo>(&reply)) {
    const auto entry = to_drain_.find(info->queue);
    if (entry != to_drain_.end() && std::holds_alternative<protocol::Close>(asked))
      entry->second = info->generation;
  } else if (const auto* report = std::get_if<protocol::Report>(&reply); report != nullptr) {
    if (closing_) report_ = *report;
    if (world_.faulty(Fault::dismiss)) dismiss_one(*report);
  }
}

void SimAdmin::on_push(protocol::Message message, Stamp stamp) {
  const auto* drained = std::get_if<protocol::Drained>(&message);
  if (drained == nullptr) return;
  world_.history().drained(*drained, stamp);
  if (!closing_) return;
  for (const protocol::QueueGeneration& entry : drained->queues) to_drain_.erase(entry.queue);
}

}  // namespace millrace::simulation

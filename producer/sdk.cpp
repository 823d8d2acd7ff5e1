// The public client, in terms of the one that the programs use.

#include <fmt/format.h>
#include <millrace/client.h>

#include <algorithm>
#include <iterator>

#include "common/protocol/job_request.h"
#include "producer/batch_run.h"
#include "producer/client.h"
#include "producer/output_stream.h"
#include "producer/queue_close.h"
#include "producer/replay_run.h"

namespace millrace {
namespace {

class GivenJobs : public producer::JobSource {
 public:
  explicit GivenJobs(std::vector<JobRequest> jobs) : jobs_(std::move(jobs)) {}

  Next next(protocol::NewJob& job) override {
    if (next_ == jobs_.size()) return Next::end;
    job = protocol::to_new_job(std::move(jobs_[next_++]));
    return Next::job;
  }

 private:
  std::vector<JobRequest> jobs_;
  std::size_t next_ = 0;
};

/// Requests may be acknowledged out of order; the ids go where their jobs stood.
class CollectIds : public producer::BatchEvents {
 public:
  explicit CollectIds(std::size_t count) : ids(count) {}
  void acknowledged(const producer::Acknowledged& request) override {
    std::size_t index = request.first_index;
    request.for_each([&](JobId job, bool) { ids.at(index++) = job; });
  }
  std::vector<JobId> ids;
};

JobResult to_result(const protocol::ResultRow& row) {
  return {row.job, row.kind, row.state, row.result, row.error, row.attempts, row.cursor};
}

class CallRow : public producer::BatchEvents {
 public:
  explicit CallRow(const std::function<void(const JobResult&)>& row) : row_(row) {}
  void result(const protocol::ResultRow& row) override { row_(to_result(row)); }

 private:
  const std::function<void(const JobResult&)>& row_;
};

/// The outcome of a CANCEL or REDRIVE of one job.
Status one_outcome(const Result<protocol::Outcomes>& outcomes, JobId job,
                   std::string_view refused) {
  if (!outcomes) return tl::make_unexpected(outcomes.error());
  using protocol::ItemStatus;
  const auto status = outcomes->statuses.empty() ? ItemStatus::refused : outcomes->statuses.front();
  if (status == ItemStatus::ok || status == ItemStatus::duplicate) return {};
  if (status == ItemStatus::not_found)
    return fail(ErrorCode::not_found, fmt::format("there is no job {}", job.value));
  return fail(ErrorCode::conflict, fmt::format("job {} {}", job.value, refused));
}

}  // namespace

struct Client::Connection {
  explicit Connection(ClientConfig config)
      : client({.broker = std::move(config.broker),
                .name = std::move(config.name),
                .first_contact = config.first_contact,
                .reconnect = config.reconnect,
                .stop_fd = config.stop_fd}),
        request_jobs(config.request_jobs) {}
  producer::Client client;
  std::size_t request_jobs;
};

Client::Client(ClientConfig config)
    : connection_(std::make_unique<Connection>(std::move(config))) {}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Result<EnqueuedBatch> Client::enqueue(std::vector<JobRequest> jobs, const std::string& queue) {
  CollectIds events(jobs.size());
  GivenJobs source(std::move(jobs));
  producer::BatchRun run(
      connection_->client,
      {.queue = queue, .watch = false, .request_jobs = connection_->request_jobs});
  if (Status done = run.run(source, events); !done)
    return tl::make_unexpected(std::move(done).error());
  return EnqueuedBatch{run.batch(), std::move(events.ids)};
}

Result<EnqueuedBatch> Client::enqueue(JobRequest job, const std::string& queue) {
  std::vector<JobRequest> jobs;
  jobs.push_back(std::move(job));
  return enqueue(std::move(jobs), queue);
}

Result<FinishSeq> Client::watch(BatchId batch, FinishSeq from,
                                const std::function<void(const JobResult&)>& row) {
  // A batch that does not exist would never end.
  if (auto known = connection_->client.call<protocol::Item>(protocol::Show{{}, batch}); !known)
    return tl::make_unexpected(std::move(known).error());
  CallRow events(row);
  producer::BatchRun run(connection_->client, {});
  if (Status done = run.watch(batch, from, events); !done)
    return tl::make_unexpected(std::move(done).error());
  return run.cursor();
}

Result<std::uint64_t> Client::close(const std::string& queue, bool wait) {
  auto info =
      connection_->client.call<protocol::QueueInfo>(protocol::Close{.queue = queue, .wait = wait});
  if (!info) return tl::make_unexpected(std::move(info).error());
  if (wait && info->state != protocol::QueueState::drained)
    if (Status done = producer::wait_drained(connection_->client, queue, info->generation); !done)
      return tl::make_unexpected(std::move(done).error());
  return info->generation;
}

Result<std::uint64_t> Client::open(const std::string& queue) {
  return connection_->client.call<protocol::QueueInfo>(protocol::Open{queue})
      .map([](const protocol::QueueInfo& info) { return info.generation; });
}

Status Client::pause(const std::string& queue) {
  return connection_->client.call<protocol::QueueInfo>(protocol::Pause{queue})
      .map([](const protocol::QueueInfo&) {});
}

Status Client::resume(const std::string& queue) {
  return connection_->client.call<protocol::QueueInfo>(protocol::Unpause{queue})
      .map([](const protocol::QueueInfo&) {});
}

Status Client::cancel(JobId job) {
  protocol::Cancel request;
  request.jobs = {job};
  return one_outcome(connection_->client.call<protocol::Outcomes>(request), job,
                     "has ended already");
}

Status Client::redrive(JobId job) {
  return one_outcome(connection_->client.call<protocol::Outcomes>(protocol::Redrive{{job}}), job,
                     "is neither dead nor cancelled, or another job holds its unique key");
}

Result<JobResult> Client::await(JobId job) {
  auto results = connection_->client.call_long<protocol::Results>(protocol::Await{job});
  if (!results) return tl::make_unexpected(std::move(results).error());
  if (results->rows.empty())
    return fail(ErrorCode::internal, "the broker answered AWAIT with no result");
  return to_result(results->rows.front());
}

Result<OutputSeq> Client::output(JobId job, OutputSeq from,
                                 const std::function<void(const JobOutput&)>& row, bool follow) {
  return producer::stream_output(connection_->client, job, from, follow,
                                 [&](const protocol::OutputRow& next) -> Status {
                                   row({next.cursor, next.attempt, next.type, next.data, next.at});
                                   return {};
                                 });
}

Result<ReplayedBatch> Client::replay(std::vector<JobId> jobs, bool force) {
  if (Status good = connection_->client.connect(); !good)
    return tl::make_unexpected(std::move(good).error());
  const std::size_t page_max = connection_->client.welcome().enqueue_jobs_max;
  producer::ReplayRun run(connection_->client, force);
  ReplayedBatch replayed;
  for (std::size_t begin = 0; begin < jobs.size(); begin += page_max) {
    const std::size_t end = std::min(begin + page_max, jobs.size());
    std::vector<JobId> page(jobs.begin() + static_cast<std::ptrdiff_t>(begin),
                            jobs.begin() + static_cast<std::ptrdiff_t>(end));
    auto reply = run.replay(std::move(page), end == jobs.size());
    if (!reply) return tl::make_unexpected(std::move(reply).error());
    for (std::uint64_t i = 0; i < reply->count; ++i)
      replayed.ids.emplace_back(reply->first.value + i);
    std::move(reply->replay_of.begin(), reply->replay_of.end(),
              std::back_inserter(replayed.replay_of));
  }
  replayed.batch = run.batch();
  return replayed;
}

Status Client::kind_set(const std::string& kind, const KindOptions& options) {
  const protocol::KindSet request{.kind = kind,
                                  .options = {.max_attempts = options.max_attempts,
                                              .crashes_max = options.crashes_max,
                                              .timeout = options.timeout,
                                              .retry = options.retry,
                                              .not_replayable = !options.replayable}};
  return connection_->client.call<protocol::KindInfo>(request).map(
      [](const protocol::KindInfo&) {});
}

Status Client::kind_reset(const std::string& kind) {
  const protocol::KindSet request{.kind = kind, .options = {}, .reset = true};
  return connection_->client.call<protocol::KindInfo>(request).map(
      [](const protocol::KindInfo&) {});
}

}  // namespace millrace

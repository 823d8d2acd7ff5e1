// The public client, in terms of the one that the programs use.

#include <fmt/format.h>
#include <millrace/client.h>

#include <algorithm>

#include "producer/batch_run.h"
#include "producer/client.h"
#include "producer/queue_close.h"

namespace millrace {
namespace {

class GivenJobs : public producer::JobSource {
 public:
  explicit GivenJobs(std::vector<JobRequest> jobs) : jobs_(std::move(jobs)) {}

  Next next(protocol::NewJob& job) override {
    if (next_ == jobs_.size()) return Next::end;
    JobRequest& given = jobs_[next_++];
    job.kind = std::move(given.kind);
    job.payload = std::move(given.payload);
    job.priority = given.priority;
    job.max_attempts = given.max_attempts;
    job.delay = given.delay;
    job.run_at = given.run_at;
    job.timeout = given.timeout;
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
    for (std::uint64_t i = 0; i < request.count; ++i)
      ids.at(request.first_index + i) = JobId{request.first.value + i};
  }
  std::vector<JobId> ids;
};

class CallRow : public producer::BatchEvents {
 public:
  explicit CallRow(const std::function<void(const JobResult&)>& row) : row_(row) {}
  void result(const protocol::ResultRow& row) override {
    row_({row.job, row.kind, row.state, row.result, row.error, row.attempts, row.cursor});
  }

 private:
  const std::function<void(const JobResult&)>& row_;
};

}  // namespace

struct Client::Connection {
  explicit Connection(ClientConfig config)
      : client({.broker = std::move(config.broker),
                .name = std::move(config.name),
                .first_contact = config.first_contact,
                .reconnect = config.reconnect,
                .stop_fd = config.stop_fd}) {}
  producer::Client client;
};

Client::Client(ClientConfig config)
    : connection_(std::make_unique<Connection>(std::move(config))) {}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Result<EnqueuedBatch> Client::enqueue(std::vector<JobRequest> jobs, const std::string& queue) {
  CollectIds events(jobs.size());
  GivenJobs source(std::move(jobs));
  producer::BatchRun run(connection_->client, {.queue = queue, .watch = false});
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
  const auto outcomes = connection_->client.call<protocol::Outcomes>(request);
  if (!outcomes) return tl::make_unexpected(outcomes.error());
  using protocol::ItemStatus;
  const auto status = outcomes->statuses.empty() ? ItemStatus::refused : outcomes->statuses.front();
  if (status == ItemStatus::ok || status == ItemStatus::duplicate) return {};
  if (status == ItemStatus::not_found)
    return fail(ErrorCode::not_found, fmt::format("there is no job {}", job.value));
  return fail(ErrorCode::conflict, fmt::format("job {} has ended already", job.value));
}

}  // namespace millrace

#pragma once

// The producer's side for other programs: enqueue jobs, stream their results, close a queue.
//
//   millrace::Client client({.broker = "tcp://127.0.0.1:7411"});
//   auto batch = client.enqueue({.kind = "echo", .payload = millrace::Payload::text("{\"n\":1}")});
//   if (batch) client.watch(batch->batch, {}, [](const millrace::JobResult& row) { … });

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/errors.h"
#include "common/job_request.h"
#include "common/kind_options.h"
#include "common/limits.h"
#include "common/types.h"

namespace millrace {

struct ClientConfig {
  std::string broker = kEndpointDefault;
  std::string name = "client";  ///< for people
  /// How long the broker may be out of reach before the first answer, and at any later time, in
  /// milliseconds.
  Duration first_contact{5000};
  Duration reconnect{60'000};
  /// A file descriptor that becomes readable when waiting shall end (`stopping`); -1: none.
  int stop_fd = -1;
  /// At most so many jobs in one message of `enqueue`; 0: as many as the broker takes. The broker's
  /// own limit holds in any case. Smaller messages are acknowledged sooner and cost more each.
  std::size_t request_jobs = 0;
};

/// Jobs that are on the broker's disk. `ids` are in the order of the requests; where a unique key
/// led to a job that was there before, that job's id stands in place, which is of another batch.
/// `batch` is none when nothing new was enqueued.
struct EnqueuedBatch {
  BatchId batch;
  std::vector<JobId> ids;
};

/// Ended jobs that were enqueued again: `ids[i]` does anew what `replay_of[i]` did. Jobs that have
/// not ended, or are not there, are left out; `batch` is none when all are.
struct ReplayedBatch {
  BatchId batch;
  std::vector<JobId> ids;
  std::vector<JobId> replay_of;
};

/// What a run of a job left behind before it ended.
struct JobOutput {
  OutputSeq cursor;  ///< where to resume after this one
  int attempt = 1;   ///< which run, from 1
  OutputType type = OutputType::log;
  Payload
      data;  ///< log: a line; progress: JSON {"done","total","text"}; chunk: as the handler made it
  Time at{};  ///< by the worker's clock, UTC
};

/// How one job ended.
struct JobResult {
  JobId job;
  std::string kind;
  JobState state = JobState::done;
  Payload result;
  std::string error;  ///< empty when done
  int attempts = 0;
  FinishSeq cursor;  ///< where to resume after this row
};

/// A connection with one broker. Belongs to one thread; every call blocks until the broker has
/// answered, through reconnects and restarts of the broker, as long as `reconnect` allows.
/// Errors of every call: unreachable, stopping, timeout, and what the broker refuses (bad_request,
/// too_large, queue_closed, queue_full, storage_full, unique_conflict, not_found, not_allowed). An
/// error's text says what to do; `is_retryable` tells whether the same call may succeed later.
class Client {
 public:
  /// Does not wait. Throws std::runtime_error when `broker` is no endpoint.
  explicit Client(ClientConfig config = {});
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  /// Enqueues all as one batch, in as many messages as that takes; returns when every job is
  /// durable. After an error some of the jobs may be enqueued. Error unique_conflict: a key is held
  /// and the job said `reject`, or `replace` and its holder does not wait any more; nothing of that
  /// message is enqueued.
  [[nodiscard]] Result<EnqueuedBatch> enqueue(std::vector<JobRequest> jobs,
                                              const std::string& queue = kQueueDefault);
  [[nodiscard]] Result<EnqueuedBatch> enqueue(JobRequest job,
                                              const std::string& queue = kQueueDefault);

  /// Calls `row` for each job of the batch that ended after the cursor `from`, in the order in
  /// which they ended, and returns when none is left. Returns the last cursor. `row` runs on this
  /// thread, inside this call; it may not use this client. What it throws passes through.
  [[nodiscard]] Result<FinishSeq> watch(BatchId batch, FinishSeq from,
                                        const std::function<void(const JobResult&)>& row);

  /// Waits until the job has ended, without limit while the broker is there, and tells how.
  /// `cursor` is its place in its own batch. Errors: not_found.
  [[nodiscard]] Result<JobResult> await(JobId job);

  /// Calls `row` for what the job's runs left behind after the cursor `from`, in order; with
  /// `follow` until the job has ended, without limit. Returns the last cursor. `row` runs on this
  /// thread, inside this call; it may not use this client. What it throws passes through.
  /// Errors: not_found.
  [[nodiscard]] Result<OutputSeq> output(JobId job, OutputSeq from,
                                         const std::function<void(const JobOutput&)>& row,
                                         bool follow = false);

  /// Ends the queue's current generation. Returns its number; with `wait` once it is drained.
  [[nodiscard]] Result<std::uint64_t> close(const std::string& queue, bool wait = false);
  /// The opposite: returns the generation that is open now.
  [[nodiscard]] Result<std::uint64_t> open(const std::string& queue);
  [[nodiscard]] Status pause(const std::string& queue);
  [[nodiscard]] Status resume(const std::string& queue);
  /// Ends a job that has not ended. Errors: not_found, conflict when it has.
  [[nodiscard]] Status cancel(JobId job);
  /// Makes a dead or cancelled job ready again, with fresh attempts. Errors: not_found; conflict
  /// when it is neither, or when its unique key is held by another job; queue_closed.
  [[nodiscard]] Status redrive(JobId job);
  /// Enqueues ended jobs again as one batch of new ones, which carry no unique key. After an error
  /// some may be enqueued. Error not_replayable: a kind forbids it and `force` is not set.
  [[nodiscard]] Result<ReplayedBatch> replay(std::vector<JobId> jobs, bool force = false);

  /// Says what holds for the jobs of a kind, above all of what workers say of it, until
  /// `kind_reset`.
  [[nodiscard]] Status kind_set(const std::string& kind, const KindOptions& options);
  [[nodiscard]] Status kind_reset(const std::string& kind);

 private:
  struct Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace millrace

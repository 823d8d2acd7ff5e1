#pragma once

// The producer's side for other programs: enqueue jobs, stream their results, close a queue.
//
//   millrace::Client client({.broker = "tcp://127.0.0.1:7411"});
//   auto batch = client.enqueue({.kind = "echo", .payload = millrace::Payload::text("{\"n\":1}")});
//   if (batch) client.watch(batch->batch, {}, [](const millrace::JobResult& row) { … });

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/errors.h"
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
};

/// One job to enqueue. Durations are milliseconds, from 0 to kDurationMax (10 years).
struct JobRequest {
  std::string kind;                        ///< `[a-z0-9._-]{1,64}`
  Payload payload = {};                    ///< at most 256 KiB unless the broker says otherwise
  int priority = kPriorityDefault;         ///< 0 (most urgent) to 255
  int max_attempts = kMaxAttemptsDefault;  ///< 1 to kMaxAttemptsMax (1,000,000)
  Duration delay{};                        ///< after the enqueue; not together with `run_at`
  Time run_at{};       ///< UTC, milliseconds since 1970; zero: as soon as can be
  Duration timeout{};  ///< of one run; zero: none
};

/// Jobs that are on the broker's disk. `ids` are in the order of the requests.
struct EnqueuedBatch {
  BatchId batch;
  std::vector<JobId> ids;
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
/// too_large, queue_closed, queue_full, storage_full, not_found, not_allowed). An error's text says
/// what to do; `is_retryable` tells whether the same call may succeed later.
class Client {
 public:
  /// Does not wait. Throws std::runtime_error when `broker` is no endpoint.
  explicit Client(ClientConfig config = {});
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  /// Enqueues all as one batch, in as many messages as that takes; returns when every job is
  /// durable. After an error some of the jobs may be enqueued.
  [[nodiscard]] Result<EnqueuedBatch> enqueue(std::vector<JobRequest> jobs,
                                              const std::string& queue = kQueueDefault);
  [[nodiscard]] Result<EnqueuedBatch> enqueue(JobRequest job,
                                              const std::string& queue = kQueueDefault);

  /// Calls `row` for each job of the batch that ended after the cursor `from`, in the order in
  /// which they ended, and returns when none is left. Returns the last cursor. `row` runs on this
  /// thread, inside this call; it may not use this client. What it throws passes through.
  [[nodiscard]] Result<FinishSeq> watch(BatchId batch, FinishSeq from,
                                        const std::function<void(const JobResult&)>& row);

  /// Ends the queue's current generation. Returns its number; with `wait` once it is drained.
  [[nodiscard]] Result<std::uint64_t> close(const std::string& queue, bool wait = false);
  /// The opposite: returns the generation that is open now.
  [[nodiscard]] Result<std::uint64_t> open(const std::string& queue);
  [[nodiscard]] Status pause(const std::string& queue);
  [[nodiscard]] Status resume(const std::string& queue);
  /// Ends a job that has not ended. Errors: not_found, conflict when it has.
  [[nodiscard]] Status cancel(JobId job);

 private:
  struct Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace millrace

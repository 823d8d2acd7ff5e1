#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "producer/batcher.h"
#include "producer/client.h"
#include "producer/job_awaits.h"
#include "producer/watch_state.h"

namespace millrace::producer {

/// Where the jobs of a run come from; asked for the next one whenever there is room for it.
class JobSource {
 public:
  enum class Next {
    job,   ///< `job` is filled in
    idle,  ///< nothing just now; ask again when fd() is readable or after a result
    end,
  };
  JobSource() = default;
  JobSource(const JobSource&) = delete;
  JobSource& operator=(const JobSource&) = delete;
  virtual ~JobSource() = default;
  [[nodiscard]] virtual Next next(protocol::NewJob& job) = 0;
  /// Readable when `idle` may be over; -1: only a result ends it.
  [[nodiscard]] virtual int fd() const { return -1; }
};

/// The broker has the jobs first … first+count−1 on disk.
struct Acknowledged {
  std::uint64_t sequence = 0;     ///< of the request, from 0; requests may overtake each other
  std::uint64_t first_index = 0;  ///< of its first job among all jobs of the source
  BatchId batch;                  ///< none while nothing new was enqueued in this run
  JobId first;
  std::uint64_t count = 0;
  /// The id of every job of the request, in order, when a unique key led to a job that was there
  /// before; empty when all are new.
  std::vector<JobId> ids;

  /// The jobs in the order of the input, and whether each was there before.
  void for_each(const std::function<void(JobId job, bool existing)>& visit) const;
};

/// What a run tells its owner; called from within BatchRun::run.
class BatchEvents {
 public:
  BatchEvents() = default;
  BatchEvents(const BatchEvents&) = delete;
  BatchEvents& operator=(const BatchEvents&) = delete;
  virtual ~BatchEvents() = default;
  virtual void acknowledged(const Acknowledged&) {}
  virtual void result(const protocol::ResultRow&) {}
  /// A job that was there before, whose end cannot be told: it is no more there.
  virtual void missing(JobId, const Error&) {}
  /// After every turn of the loop; a good time to flush and to draw. An error ends the run.
  [[nodiscard]] virtual Status turned() { return {}; }
};

struct BatchRunOptions {
  std::string queue = kQueueDefault;
  /// Stream the results until the batch has ended, and those of jobs that were there before; else
  /// the run ends with the last acknowledgement.
  bool watch = true;
  /// At most so many jobs in one ENQUEUE; 0: as many as the broker takes.
  std::size_t request_jobs = 0;
};

/// Enqueues everything a source gives as one sealed batch and streams its results. What it knows
/// stays readable when `run` fails, so that the owner can say how to go on.
class BatchRun {
 public:
  BatchRun(Client& client, BatchRunOptions options)
      : client_(client), options_(std::move(options)) {}

  /// Errors: as Client, and what the broker answers to an ENQUEUE.
  [[nodiscard]] Status run(JobSource& source, BatchEvents& events);
  /// Streams an existing batch from a cursor.
  [[nodiscard]] Status watch(BatchId batch, FinishSeq from, BatchEvents& events);
  /// After `run` was interrupted: lets what is under way be acknowledged and seals the batch, if
  /// that is quick. Errors are of no consequence: an unsealed batch ends with its producer.
  void leave(Duration budget, BatchEvents& events);

  [[nodiscard]] BatchId batch() const { return batch_; }
  /// Jobs that the source gave, and of them those acknowledged.
  [[nodiscard]] std::uint64_t taken() const { return taken_; }
  [[nodiscard]] std::uint64_t enqueued() const { return enqueued_; }
  /// Jobs of the source that stand for one that was there before.
  [[nodiscard]] std::uint64_t existing() const { return existing_; }
  [[nodiscard]] FinishSeq cursor() const { return watch_ ? watch_->cursor() : FinishSeq{}; }
  [[nodiscard]] const std::optional<WatchState>& watched() const { return watch_; }
  [[nodiscard]] const JobAwaits& awaited() const { return awaits_; }

 private:
  void fill(JobSource& source, Instant now);
  void send_ready(bool seal);
  void send_seal_alone();
  [[nodiscard]] Duration patience(Instant now) const;
  [[nodiscard]] Status handle(net::Event& event, BatchEvents& events, Instant now);
  [[nodiscard]] Status handle_reply(net::Replied& reply, BatchEvents& events, Instant now);
  void acknowledge(std::uint64_t sequence, const RequestWindow::Request& request,
                   protocol::Enqueued& reply, BatchEvents& events);
  void handle_awaited(net::Replied& reply, BatchEvents& events, Instant now);
  [[nodiscard]] bool is_own(JobId job) const;
  void resend_due(Instant now);
  void watch_if_due(Instant now);
  [[nodiscard]] bool finished() const;

  Client& client_;
  BatchRunOptions options_;
  std::optional<Batcher> batcher_;
  RequestWindow window_;
  std::optional<protocol::NewJob> next_job_;  // the first that no longer fitted
  std::optional<WatchState> watch_;
  JobAwaits awaits_;
  std::map<JobId, std::uint64_t> own_;  // the jobs of this run: how many from each first one on
  std::uint64_t request_prefix_ = 0;
  std::uint64_t request_counter_ = 0;
  BatchId batch_;
  std::uint64_t taken_ = 0;
  std::uint64_t requested_ = 0;
  std::uint64_t enqueued_ = 0;
  std::uint64_t existing_ = 0;
  bool input_ended_ = false;
  bool idle_ = false;
  bool seal_sent_ = false;
  bool sealed_ = false;
  bool leaving_ = false;
};

}  // namespace millrace::producer

#pragma once

// What the author of a job kind writes: a function from a job to an outcome.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/errors.h"
#include "common/job_request.h"
#include "common/kind_options.h"
#include "common/types.h"

namespace millrace {

/// Names of the pools a kind may run in. Threads: `io` for jobs that mostly wait, `cpu` for jobs
/// that compute. `process`: child processes of its own, for jobs that may crash, leak or have to be
/// killed. `loop`: one thread for very many waits at once, with an AsyncHandler.
inline constexpr const char* kPoolIo = "io";
inline constexpr const char* kPoolCpu = "cpu";
inline constexpr const char* kPoolProcess = "process";
inline constexpr const char* kPoolLoop = "loop";

/// One delivery of one job.
struct Job {
  JobId id;
  std::string kind;
  std::string queue;
  Payload payload;
  int attempt = 1;  ///< from 1; a run that was given back or lost is not counted
  int max_attempts = 0;
  int deliveries = 1;  ///< how often it was given to a worker, this time included
  /// Fencing token, rising over all deliveries of all jobs: another system that remembers the
  /// highest one it saw can refuse a run that was overtaken.
  LeaseId lease;
  Duration timeout{};  ///< of this run; zero: none
};

/// What a running handler knows, may ask and may tell. Made for one run. All of it belongs to the
/// thread that runs the handler; only the stop token may be handed to other threads.
class JobContext {
 public:
  JobContext(const Job& job, std::stop_token stop) : job_(job), stop_(std::move(stop)) {}
  virtual ~JobContext() = default;
  JobContext(const JobContext&) = delete;
  JobContext& operator=(const JobContext&) = delete;

  [[nodiscard]] const Job& job() const { return job_; }

  /// Stop is requested when the job is cancelled, its timeout is over, its lease was taken away, or
  /// the worker ends and its grace time is over. Nothing forces a handler to look, but a thread
  /// that does not return is lost to its pool. What a stopped run returns is mostly not used.
  [[nodiscard]] const std::stop_token& stop_token() const { return stop_; }
  [[nodiscard]] bool cancelled() const { return stop_.stop_requested(); }

  /// Blocks for `duration`, or until stop is requested. True when the whole time has passed.
  bool wait(Duration duration) const;

  // What a run tells before it ends. The broker keeps it beside the job, where it can be followed
  // live and read afterwards. It is sent before the outcome. None of these waits for the network;
  // log() and chunk() wait, until stop is requested, while this worker holds 64 MiB that its broker
  // has not taken.

  /// How far it is: `done` of `total` (0: unknown), and a word on it (cut at 1 KiB). Call it as
  /// often as you like: at most two a second are sent, in runs of hours fewer; the newest counts,
  /// and the last one before the end is always sent.
  void progress(std::uint64_t done, std::uint64_t total = 0, std::string_view text = {}) {
    put_progress(done, total, text);
  }
  /// A line for people, UTF-8. One above the broker's output_item_bytes_max (64 KiB unless
  /// configured) is cut. Above output_rows_max (10,000 lines, chunks and progress of a run) or
  /// output_bytes_max (16 MiB) the log ends with a line that says so.
  void log(std::string_view line) { put_log(line); }
  /// A part of the result, stored and streamed before the end. Throws std::length_error, naming the
  /// limit, above one of the three; uncaught that makes the run fail. Throws std::runtime_error
  /// when stop is requested while it waits.
  void chunk(Payload part) { put_chunk(std::move(part)); }

  /// Enqueues further jobs, into `queue` or, when it is empty, the queue of this job. They join the
  /// batch of this job, so whoever streams its results gets theirs, too, and the stream ends after
  /// them. The queue of this job takes them also while it is closed, and drains after them.
  ///
  /// Blocks until the broker has them on its disk, through reconnects and restarts of it, and while
  /// its disk is full; returns their ids in the order of `jobs`. Where a unique key led to a job
  /// that was there before, that one's id stands in place. Any number: what is more than a message
  /// holds goes in several, and after an error some of the jobs may be enqueued. Throws
  /// std::runtime_error, whose text begins with the word of the error, when the broker refuses them
  /// (queue_closed, queue_full, unique_conflict, bad_request, too_large …), when this run has lost
  /// its job (lease_lost), and when stop is requested meanwhile (stopping).
  ///
  /// A run that is tried again enqueues again. Give the jobs a unique key where that matters.
  std::vector<JobId> enqueue(std::vector<JobRequest> jobs, const std::string& queue = {}) {
    return put_jobs(std::move(jobs), queue);
  }
  JobId enqueue(JobRequest job, const std::string& queue = {}) {
    std::vector<JobRequest> jobs;
    jobs.push_back(std::move(job));
    return put_jobs(std::move(jobs), queue).at(0);
  }

 protected:
  // Nothing is kept of what is told to a context that no worker made, as in a test of a handler.
  virtual void put_progress(std::uint64_t /*done*/, std::uint64_t /*total*/,
                            std::string_view /*text*/) {}
  virtual void put_log(std::string_view /*line*/) {}
  // Those that override it keep the part. NOLINTNEXTLINE(performance-unnecessary-value-param)
  virtual void put_chunk(Payload /*part*/) {}
  virtual std::vector<JobId> put_jobs(std::vector<JobRequest>&& jobs,
                                      const std::string& /*queue*/) {
    return std::vector<JobId>(jobs.size());
  }

 private:
  const Job& job_;
  std::stop_token stop_;
};

/// How a run ended.
class Outcome {
 public:
  enum class Verdict : std::uint8_t { ack, nack, reject };

  /// Done. The result must not be above the broker's limit (256 KiB unless configured).
  [[nodiscard]] static Outcome ack(Payload result = {}) {
    return {Verdict::ack, std::move(result), {}, std::nullopt};
  }
  /// Failed; tried again by the job's policy, or after `delay` when given, while attempts are left.
  /// `error` is read by people and begins with one word, e.g. `refused: the mail server said no`.
  [[nodiscard]] static Outcome nack(std::string error, std::optional<Duration> delay = {}) {
    return {Verdict::nack, {}, std::move(error), delay};
  }
  /// Failed, and trying again cannot help.
  [[nodiscard]] static Outcome reject(std::string error) {
    return {Verdict::reject, {}, std::move(error), std::nullopt};
  }

  Verdict verdict = Verdict::ack;
  Payload result;
  std::string error;
  std::optional<Duration> delay;

 private:
  Outcome(Verdict v, Payload r, std::string e, std::optional<Duration> d)
      : verdict(v), result(std::move(r)), error(std::move(e)), delay(d) {}
};

/// Runs one job. Called by several threads at once; may block. An exception counts as a nack with
/// its what().
using Handler = std::function<Outcome(JobContext&)>;

/// A run on the event loop: one thread runs thousands of them, so nothing here blocks, and neither
/// may what it calls: wait() does, and log() and chunk() do while there is no room, and all runs
/// with them. The run lives until complete() was called; when the last pointer to it goes before,
/// it has failed. Everything but complete(), post() and the stop token is for the loop's thread. A
/// callback that throws fails the run; none is called after its end.
class AsyncJob : public JobContext {
 public:
  using JobContext::JobContext;

  /// Ends the run; a second call changes nothing. Any thread. On another than the loop's the run
  /// ends soon after.
  virtual void complete(Outcome outcome) = 0;
  /// Calls back on the loop's thread after `delay` (0 or more, ms), unless the run has ended by
  /// then.
  virtual void after(Duration delay, std::function<void()> callback) = 0;
  /// Calls back on the loop's thread, soon. Any thread; ignored when the run has ended.
  virtual void post(std::function<void()> callback) = 0;
  /// Calls back on the loop's thread when stop is requested, at once if it was; one for each run.
  /// A run that does not complete then is not waited for: it keeps its slot until it does.
  virtual void on_stop(std::function<void()> callback) = 0;
  /// Calls back on the loop's thread with the poll(2) events of `fd` that came, again and again,
  /// until `events` is 0 or the run ends; once more for the same `fd` it replaces both. The loop
  /// holds a duplicate of `fd` meanwhile. Throws std::system_error when `fd` cannot be polled.
  virtual void watch(int fd, short events, std::function<void(short)> callback) = 0;
  /// As JobContext::enqueue(), which must not be called here, but does not block: calls back on the
  /// loop's thread with the ids, or with the error, unless the run has ended by then. The run may
  /// complete before; its outcome is then sent after the answer.
  virtual void enqueue(std::vector<JobRequest> jobs, std::string queue,
                       std::function<void(Result<std::vector<JobId>>)> callback) = 0;
};

/// Begins one run, on the loop's thread, and returns at once. An exception counts as a nack with
/// its what().
using AsyncHandler = std::function<void(std::shared_ptr<AsyncJob>)>;

}  // namespace millrace

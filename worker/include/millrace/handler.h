#pragma once

// What the author of a job kind writes: a function from a job to an outcome.

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "common/types.h"

namespace millrace {

/// Names of the pools a kind may run in: `io` for jobs that mostly wait, `cpu` for jobs that
/// compute.
inline constexpr const char* kPoolIo = "io";
inline constexpr const char* kPoolCpu = "cpu";

/// One delivery of one job.
struct Job {
  JobId id;
  std::string kind;
  std::string queue;
  Payload payload;
  int attempt = 1;  ///< from 1; a run that was given back or lost is not counted
  int max_attempts = 0;
  /// Fencing token, rising over all deliveries of all jobs: another system that remembers the
  /// highest one it saw can refuse a run that was overtaken.
  LeaseId lease;
  Duration timeout{};  ///< of this run; zero: none
};

/// What a running handler knows and may ask. Made for one run, used on the thread that runs it;
/// only the stop token may be handed to other threads.
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

}  // namespace millrace

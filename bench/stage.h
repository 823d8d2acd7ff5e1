#pragma once

#include <millrace/client.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/processes.h"
#include "bench/workload.h"

namespace millrace::bench {

struct StageOptions {
  /// Jobs in one ENQUEUE, and the most that one worker has been given and not ended; 0: what the
  /// programs do by themselves.
  std::size_t batch = 0;
};

enum class WorkerKind {
  program,  ///< millrace-worker
  own,      ///< the benchmark itself as a worker, with the kind `noop`; see own_worker.h
};

/// A broker with an empty file, a producer in this process, and as many workers as are wanted. The
/// folder with all of it is deleted at the end. Throws std::runtime_error when a program does not
/// do its part.
class Stage {
 public:
  explicit Stage(const Run& run, StageOptions options = {});
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  [[nodiscard]] Client& client() { return *client_; }
  /// Another producer, for another thread.
  [[nodiscard]] Client new_client() const;
  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
  [[nodiscard]] std::string database() const { return folder_ + "/bench.db"; }
  /// For the log of a further program.
  [[nodiscard]] std::string log(const std::string& name) const { return folder_ + "/" + name; }
  [[nodiscard]] std::string program(const std::string& name) const;

  [[nodiscard]] Process& broker() { return *broker_; }
  /// Ends it with SIGTERM and waits.
  void stop_broker();
  /// Starts it again on the same file and address; seconds until it serves.
  double start_broker();

  /// Returns when all of them are connected.
  void start_workers(std::size_t count, WorkerKind kind = WorkerKind::program);
  /// Waits for all of them to leave, which they do when their queue is drained.
  void wait_for_workers();
  void stop_workers() { workers_.clear(); }
  [[nodiscard]] std::vector<std::unique_ptr<Process>>& workers() { return workers_; }
  [[nodiscard]] double workers_cpu_seconds() const;
  /// What the handlers of workers of kind `own` saw, in ms from the stamp of the payload; after
  /// wait_for_workers().
  [[nodiscard]] std::vector<double> latencies() const;

 private:
  [[nodiscard]] std::string latencies_file(std::size_t worker) const;

  std::string programs_;
  std::string folder_;
  StageOptions options_;
  std::string endpoint_ = "tcp://127.0.0.1:*";
  std::unique_ptr<Process> broker_;
  std::optional<Client> client_;
  std::vector<std::unique_ptr<Process>> workers_;
};

/// `count` jobs of one kind with a JSON text of `payload_bytes` bytes (2 or more).
[[nodiscard]] std::vector<JobRequest> make_jobs(std::size_t count, std::size_t payload_bytes = 100,
                                                const std::string& kind = "echo");

}  // namespace millrace::bench

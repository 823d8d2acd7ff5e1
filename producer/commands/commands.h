#pragma once

// Every command of millrace-producer: its options as they stand on the command line, and the
// function that carries it out and returns the exit code of the program.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/limits.h"
#include "producer/context.h"
#include "producer/job_options.h"

namespace millrace::producer {

struct EnqueueOptions {
  std::string kind;
  std::optional<std::string> payload;  ///< JSON text, `-` for lines from stdin; none: null
  std::string queue = kQueueDefault;
  JobOptions job;
  bool wait = false;
};
[[nodiscard]] int run_enqueue(Context& context, const EnqueueOptions& options);

struct UrlsOptions {
  std::string file;
  std::string queue = kQueueDefault;
  Duration timeout{10'000};
  std::string method = "GET";
  std::optional<std::int64_t> max_attempts;
  std::string retry = "200ms jitter:0";
  std::int64_t redirects = 5;
  bool strict = false;
};
[[nodiscard]] int run_urls(Context& context, const UrlsOptions& options);

struct PrimesOptions {
  std::string from;
  std::string to;
  std::string queue = kQueueDefault;
  std::uint64_t chunk = 0;  ///< 0: by the size of the range
  bool list = false;
  bool ordered = false;
};
[[nodiscard]] int run_primes(Context& context, const PrimesOptions& options);

struct ResultsOptions {
  std::string batch;
  std::uint64_t from = 0;
};
[[nodiscard]] int run_results(Context& context, const ResultsOptions& options);

/// Which jobs a command means. Ids as people write them.
struct SelectOptions {
  std::vector<std::string> ids;
  std::uint64_t batch = 0;
  std::vector<std::string> states;
  std::string queue;
  std::string kind;
  std::string unique_key;
  Time since{};
  Time until{};
};

struct ReplayOptions {
  SelectOptions select;
  bool dry_run = false;
  bool wait = false;
  bool verify = false;
  bool force = false;
};
[[nodiscard]] int run_replay(Context& context, const ReplayOptions& options);

struct QueueOptions {
  std::string queue;
  bool wait = false;
};
[[nodiscard]] int run_close(Context& context, const QueueOptions& options);
[[nodiscard]] int run_open(Context& context, const QueueOptions& options);
[[nodiscard]] int run_queue_ls(Context& context);
[[nodiscard]] int run_queue_show(Context& context, const QueueOptions& options);
[[nodiscard]] int run_queue_pause(Context& context, const QueueOptions& options);
[[nodiscard]] int run_queue_resume(Context& context, const QueueOptions& options);

struct PurgeOptions {
  std::string queue;
  std::string kind;
  std::vector<std::string> states;
  bool dry_run = false;
};
[[nodiscard]] int run_queue_purge(Context& context, const PurgeOptions& options);

struct JobListOptions {
  SelectOptions select;
  std::uint64_t limit = 50;
};
struct JobActOptions {
  std::vector<std::string> ids;  ///< besides those of `select`
  SelectOptions select;
  bool dry_run = false;
};
[[nodiscard]] int run_job_ls(Context& context, const JobListOptions& options);
[[nodiscard]] int run_job_show(Context& context, const std::string& id);
[[nodiscard]] int run_job_cancel(Context& context, const JobActOptions& options);
[[nodiscard]] int run_job_redrive(Context& context, const JobActOptions& options);

[[nodiscard]] int run_job_wait(Context& context, const std::vector<std::string>& ids);

struct JobOutputOptions {
  std::string id;
  std::uint64_t from = 0;
  bool follow = false;
  std::vector<std::string> types;  ///< none: all
};
[[nodiscard]] int run_job_output(Context& context, const JobOutputOptions& options);
[[nodiscard]] int run_job_logs(Context& context, const JobOutputOptions& options);

struct BatchActOptions {
  std::string id;
  bool dry_run = false;
};
[[nodiscard]] int run_batch_ls(Context& context, std::uint64_t limit);
[[nodiscard]] int run_batch_show(Context& context, const std::string& id);
[[nodiscard]] int run_batch_cancel(Context& context, const BatchActOptions& options);
[[nodiscard]] int run_batch_redrive(Context& context, const BatchActOptions& options);

struct WorkerStopOptions {
  std::vector<std::string> workers;  ///< ids or names
  std::string queue;
  bool all = false;
  bool dry_run = false;
};
[[nodiscard]] int run_worker_ls(Context& context);
[[nodiscard]] int run_worker_show(Context& context, const std::string& worker);
[[nodiscard]] int run_worker_stop(Context& context, const WorkerStopOptions& options);

struct KindSetOptions {
  std::string kind;
  std::optional<std::int64_t> max_attempts;
  std::optional<std::int64_t> crashes_max;
  Duration timeout{};
  std::string retry;
  bool replayable = false;
  bool not_replayable = false;
};
[[nodiscard]] int run_kind_ls(Context& context);
[[nodiscard]] int run_kind_set(Context& context, const KindSetOptions& options);
[[nodiscard]] int run_kind_reset(Context& context, const std::string& kind);

struct CompareOptions {
  std::string kind;
  std::vector<std::string> payloads;  ///< JSON texts; none: null
  std::uint64_t jobs = 100;
  std::uint64_t size = 0;          ///< jobs at once; 0: as a worker has them by default
  std::vector<std::string> kinds;  ///< --kind of the worker
  std::string worker;              ///< a program; empty: the millrace-worker beside this one
};
[[nodiscard]] int run_compare(Context& context, const CompareOptions& options);

[[nodiscard]] int run_backup(Context& context, const std::string& file);
[[nodiscard]] int run_status(Context& context);

}  // namespace millrace::producer

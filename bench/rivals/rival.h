#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

/// What the clients of all rivals share: arguments, payloads, timing and output. A client says how
/// to hand jobs in (Producer) and how to take them (Worker); run() measures. One thread each.
namespace millrace::rivals {

/// CLOCK_MONOTONIC: its stamps can be compared between the processes of one machine.
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

inline constexpr std::size_t kPayloadBytes = 100;
inline constexpr std::size_t kStampDigits = 19;
/// The first jobs of the latency workload are not counted: connections and caches become warm.
inline constexpr std::size_t kWarmUpJobs = 100;
/// A worker goes home when nothing has come for this long; the first job may take longer.
inline constexpr milliseconds kIdleMax{2000};
inline constexpr milliseconds kFirstJobMax{10000};

struct Options {
  std::string mode;
  /// What a client with more than one way is to do; see README.md.
  std::string setting;
  int port = 0;
  std::size_t jobs = 1000;
  /// Jobs per request of a producer, and at most so many without acknowledgement.
  std::size_t batch = 100;
  /// A producer stops early when this has passed.
  double seconds = 1e9;
  /// Between two jobs of the mode `paced`.
  milliseconds pace{2};
};

class Producer {
 public:
  virtual ~Producer() = default;
  /// Hands `payloads` in, at most Options::batch of them. May return before they are acknowledged.
  virtual void enqueue(const std::vector<std::string>& payloads) = 0;
  /// Returns when all that was handed in is acknowledged.
  virtual void flush() {}
};

/// Called with the payload of each job.
using Handler = void (*)(std::string_view payload);

class Worker {
 public:
  virtual ~Worker() = default;
  /// Takes up to Options::batch jobs, waiting up to `wait` for the first, and handles them. Returns
  /// how many. A client may send their acks with its next request, at the latest with one that
  /// finds nothing.
  virtual std::size_t work(milliseconds wait, Handler handler) = 0;
};

[[noreturn]] inline void fail(const std::string& message) { throw std::runtime_error(message); }

inline std::int64_t nanoseconds_now() {
  return std::chrono::nanoseconds(Clock::now().time_since_epoch()).count();
}

inline double seconds_now() { return static_cast<double>(nanoseconds_now()) * 1e-9; }

/// The present time, a number that no other payload of this run has, and filling.
inline std::string make_payload(std::size_t number) {
  char head[48];
  std::snprintf(head, sizeof head, "%019lld %09zu ", static_cast<long long>(nanoseconds_now()),
                number);
  std::string payload(head);
  payload.resize(kPayloadBytes, 'x');
  return payload;
}

inline double milliseconds_since_stamp(std::string_view payload) {
  const std::string stamp(payload.substr(0, kStampDigits));
  return static_cast<double>(nanoseconds_now() - std::strtoll(stamp.c_str(), nullptr, 10)) * 1e-6;
}

inline double quantile(std::vector<double>& values, double q) {
  if (values.empty()) fail("no job was measured");
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(static_cast<double>(values.size() - 1) * q + 0.5)];
}

inline void print_quantiles(std::vector<double>& values) {
  std::printf("{\"jobs\": %zu, \"p50\": %.6f, \"p99\": %.6f, \"p99.9\": %.6f}\n", values.size(),
              quantile(values, 0.5), quantile(values, 0.99), quantile(values, 0.999));
}

inline void print_span(std::size_t jobs, double begin, double end) {
  std::printf("{\"jobs\": %zu, \"begin\": %.9f, \"end\": %.9f}\n", jobs, begin, end);
}

inline void enqueue_batches(const Options& options, Producer& producer) {
  std::vector<std::string> payloads;
  std::size_t jobs = 0;
  const double begin = seconds_now();
  while (jobs < options.jobs && seconds_now() - begin < options.seconds) {
    payloads.clear();
    while (payloads.size() < options.batch && jobs < options.jobs)
      payloads.push_back(make_payload(jobs++));
    producer.enqueue(payloads);
  }
  producer.flush();
  print_span(jobs, begin, seconds_now());
}

inline void enqueue_singly(const Options& options, Producer& producer) {
  std::vector<double> acknowledged;
  const double begin = seconds_now();
  while (acknowledged.size() < options.jobs && seconds_now() - begin < options.seconds) {
    const std::string payload = make_payload(acknowledged.size());
    producer.enqueue({payload});
    producer.flush();
    acknowledged.push_back(milliseconds_since_stamp(payload));
  }
  print_quantiles(acknowledged);
}

/// One job each Options::pace, or as fast as they are acknowledged where that takes longer.
inline void enqueue_paced(const Options& options, Producer& producer) {
  const double begin = seconds_now();
  std::size_t jobs = 0;
  for (auto due = Clock::now(); jobs < options.jobs && seconds_now() - begin < options.seconds;
       due += options.pace) {
    std::this_thread::sleep_until(due);
    producer.enqueue({make_payload(jobs++)});
    producer.flush();
  }
  print_span(jobs, begin, seconds_now());
}

/// The runner lets all workers connect before any of them may begin.
inline void await_start() {
  std::puts("ready");
  std::fflush(stdout);
  if (std::getchar() == EOF) fail("ended before the start");
}

/// How long a worker waits for a job right after one that it got, and after it found none.
struct Waits {
  milliseconds busy;
  milliseconds idle;
};

/// Calls `worker` until the queue is empty or `jobs_max` are done; returns when the last ack was
/// sent or, where the rival answers acks, answered.
inline double work_until_idle(Worker& worker, Waits waits, Handler handler, std::size_t jobs_max,
                              std::size_t& jobs) {
  auto idle_since = Clock::now();
  double end = seconds_now();
  bool busy = false;
  while (jobs < jobs_max && Clock::now() - idle_since < (jobs > 0 ? kIdleMax : kFirstJobMax)) {
    const std::size_t done = worker.work(busy ? waits.busy : waits.idle, handler);
    jobs += done;
    if (done > 0 || busy) end = seconds_now();
    if (done > 0) idle_since = Clock::now();
    busy = done > 0;
  }
  return end;
}

inline void drain(Worker& worker) {
  await_start();
  std::size_t jobs = 0;
  const double begin = seconds_now();
  // The last acks go with a request that finds nothing; waiting in it would count as work.
  const double end = work_until_idle(
      worker, {milliseconds(0), milliseconds(100)}, [](std::string_view) {}, SIZE_MAX, jobs);
  print_span(jobs, begin, end);
}

inline void measure_latency(const Options& options, Worker& worker) {
  static std::vector<double> latencies;
  await_start();
  const auto handler = [](std::string_view payload) {
    latencies.push_back(milliseconds_since_stamp(payload));
  };
  std::size_t jobs = 0;
  (void)work_until_idle(worker, {milliseconds(1000), milliseconds(1000)}, handler, options.jobs,
                        jobs);
  // The acks of the last jobs still wait for a request to go with.
  (void)worker.work(milliseconds(0), handler);
  const std::size_t warm_up = std::min(kWarmUpJobs, latencies.size());
  latencies.erase(latencies.begin(), latencies.begin() + static_cast<std::ptrdiff_t>(warm_up));
  print_quantiles(latencies);
}

inline Options read_options(int argc, char** argv) {
  Options options;
  if (argc < 2 || argc % 2 != 0) fail("usage: MODE [--port P] [--setting S] [--jobs N] ...");
  options.mode = argv[1];
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    if (name == "--port") options.port = std::atoi(argv[i + 1]);
    if (name == "--setting") options.setting = argv[i + 1];
    if (name == "--jobs") options.jobs = std::strtoul(argv[i + 1], nullptr, 10);
    if (name == "--batch") options.batch = std::strtoul(argv[i + 1], nullptr, 10);
    if (name == "--seconds") options.seconds = std::atof(argv[i + 1]);
    if (name == "--pace") options.pace = milliseconds(std::atoi(argv[i + 1]));
  }
  return options;
}

/// The main() of a client. Modes: enqueue, single, paced (producers) · drain, latency (workers).
template <class MakeProducer, class MakeWorker>
int run(int argc, char** argv, MakeProducer make_producer, MakeWorker make_worker) try {
  const Options options = read_options(argc, argv);
  if (options.mode == "drain" || options.mode == "latency") {
    const std::unique_ptr<Worker> worker = make_worker(options);
    options.mode == "drain" ? drain(*worker) : measure_latency(options, *worker);
    return 0;
  }
  const std::unique_ptr<Producer> producer = make_producer(options);
  if (options.mode == "enqueue") enqueue_batches(options, *producer);
  if (options.mode == "single") enqueue_singly(options, *producer);
  if (options.mode == "paced") enqueue_paced(options, *producer);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
  return 1;
}

}  // namespace millrace::rivals

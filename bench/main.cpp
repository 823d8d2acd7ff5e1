// millrace-bench: enqueue and drain rates, latencies, CPU and memory of a real broker with real
// workers, beside a bare SQLite loop of the same rows, all in one run. Medians of several rounds.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/bare_sqlite.h"
#include "bench/processes.h"
#include "producer/include/millrace/client.h"

namespace millrace::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Options {
  std::size_t jobs = 100'000;
  std::size_t rounds = 3;
  std::string bin;
};

/// Values of all rounds by what was measured; the order of the table.
using Samples = std::map<std::string, std::vector<double>>;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double last = static_cast<double>(values.size() - 1);
  return values.at(static_cast<std::size_t>(last * q + 0.5));
}

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

std::vector<JobRequest> echo_jobs(std::size_t count) {
  const std::string payload = "\"" + std::string(98, 'x') + "\"";
  return {count, JobRequest{.kind = "echo", .payload = Payload::text(payload)}};
}

/// A broker with an empty file and, when wanted, workers.
struct Stage {
  Stage(const Options& options, std::string where)
      : bin(options.bin),
        folder(std::move(where)),
        broker({bin + "/millrace-broker", "--listen", "tcp://127.0.0.1:*", "--db",
                folder + "/bench.db"},
               folder + "/broker.log"),
        endpoint(broker.wait_for_line("ready ")),
        client(ClientConfig{.broker = endpoint, .name = "bench"}) {}

  void start_worker() {
    const std::string log = fmt::format("{}/worker{}.log", folder, workers.size());
    workers.push_back(std::make_unique<Process>(
        std::vector<std::string>{bin + "/millrace-worker", "--broker", endpoint}, log));
    (void)workers.back()->wait_for_line("20");  // its first line of log
  }

  std::string bin;
  std::string folder;
  Process broker;
  std::string endpoint;
  Client client;
  std::vector<std::unique_ptr<Process>> workers;
};

void measure_backlog(const Options& options, const std::string& folder, Samples& samples) {
  Stage stage(options, folder);
  const auto jobs = static_cast<double>(options.jobs);
  auto begin = Clock::now();
  must(stage.client.enqueue(echo_jobs(options.jobs)));
  const double enqueue_seconds = seconds_since(begin);
  stage.start_worker();
  stage.start_worker();
  begin = Clock::now();
  must(stage.client.close("default", true));
  const double drain_seconds = seconds_since(begin);
  samples["1 enqueue, no workers (jobs/s)"].push_back(jobs / enqueue_seconds);
  samples["2 drain by two workers (jobs/s)"].push_back(jobs / drain_seconds);
  samples["4 broker CPU (us/job)"].push_back(stage.broker.cpu_seconds() * 1e6 / jobs);
  samples["5 broker memory, peak (MB)"].push_back(stage.broker.peak_megabytes());
}

void measure_both(const Options& options, const std::string& folder, Samples& samples) {
  Stage stage(options, folder);
  stage.start_worker();
  stage.start_worker();
  must(
      stage.client.watch(must(stage.client.enqueue(echo_jobs(100))).batch, {}, [](const auto&) {}));
  const auto begin = Clock::now();
  must(stage.client.enqueue(echo_jobs(options.jobs)));
  must(stage.client.close("default", true));
  samples["3 first ENQUEUE to last SETTLED, two workers (jobs/s)"].push_back(
      static_cast<double>(options.jobs) / seconds_since(begin));
}

void measure_latency(const Options& options, const std::string& folder, Samples& samples) {
  Stage stage(options, folder);
  stage.start_worker();
  std::vector<double> acknowledged;
  std::vector<double> answered;
  for (int i = 0; i < 500; ++i) {
    const auto begin = Clock::now();
    const EnqueuedBatch batch = must(stage.client.enqueue(echo_jobs(1)));
    acknowledged.push_back(seconds_since(begin) * 1e3);
    must(stage.client.watch(batch.batch, {}, [](const auto&) {}));
    answered.push_back(seconds_since(begin) * 1e3);
  }
  samples["6 one enqueue, p50 (ms)"].push_back(quantile(acknowledged, 0.50));
  samples["6 one enqueue, p99 (ms)"].push_back(quantile(acknowledged, 0.99));
  samples["7 one job to its result, p50 (ms)"].push_back(quantile(answered, 0.50));
  samples["7 one job to its result, p99 (ms)"].push_back(quantile(answered, 0.99));
}

void print(const Samples& samples) {
  for (const auto& [name, values] : samples)
    fmt::print("{:<58} {:>12.2f}\n", name.substr(2), quantile(values, 0.5));
  const auto rate = [&](const char* name) { return quantile(samples.at(name), 0.5); };
  fmt::print("{:<58} {:>12.2f}\n", "enqueue / bare SQLite",
             rate("1 enqueue, no workers (jobs/s)") / rate("0 bare SQLite insert (rows/s)"));
}

Options read_options(int argc, char** argv) {
  Options options;
  options.bin = fs::canonical("/proc/self/exe").parent_path().string();
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    if (name == "--jobs") options.jobs = std::strtoul(argv[i + 1], nullptr, 10);
    if (name == "--rounds") options.rounds = std::strtoul(argv[i + 1], nullptr, 10);
  }
  if (argc % 2 == 0 || options.jobs < 1000 || options.rounds < 1)
    throw std::invalid_argument("usage: millrace-bench [--jobs N (1000 or more)] [--rounds N]");
  return options;
}

void run(const Options& options) {
  std::string base = (fs::temp_directory_path() / "millrace-bench-XXXXXX").string();
  if (mkdtemp(base.data()) == nullptr) throw std::runtime_error("cannot make " + base);
  Samples samples;
  for (std::size_t round = 0; round < options.rounds; ++round) {
    const auto folder = [&](const char* name) {
      const fs::path path = fs::path(base) / fmt::format("{}-{}", name, round);
      fs::create_directory(path);
      return path.string();
    };
    samples["0 bare SQLite insert (rows/s)"].push_back(
        bare_insert_rate(folder("bare"), options.jobs, 1000));
    measure_backlog(options, folder("backlog"), samples);
    measure_both(options, folder("both"), samples);
    measure_latency(options, folder("latency"), samples);
    fmt::print(stderr, "round {} of {}\n", round + 1, options.rounds);
  }
  fmt::print("{} jobs of 100 bytes, 1,000 a transaction, medians of {}\n", options.jobs,
             options.rounds);
  print(samples);
  fs::remove_all(base);
}

}  // namespace
}  // namespace millrace::bench

int main(int argc, char** argv) {
  try {
    millrace::bench::run(millrace::bench::read_options(argc, argv));
    return 0;
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 64;
  } catch (const std::exception& error) {
    fmt::print(stderr, "millrace-bench: {}\n", error.what());
    return 70;
  }
}

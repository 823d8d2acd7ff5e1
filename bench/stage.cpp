#include "bench/stage.h"

#include <fmt/format.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "bench/measure.h"

namespace millrace::bench {
namespace {

namespace fs = std::filesystem;

// A mistake here would measure something else without a word.
void check_good_end(Process& process, const char* what) {
  const int code = process.wait();
  if (code != 0)
    throw std::runtime_error(
        fmt::format("{} ended with exit code {}:\n{}", what, code, process.printed()));
}

}  // namespace

Stage::Stage(const Run& run, StageOptions options)
    : programs_(run.settings().programs), folder_(run.new_folder("stage")), options_(options) {
  if (options_.batch > 0) {
    std::ofstream config(folder_ + "/broker.toml");
    config << fmt::format("[limits]\nleases_per_worker_max = {}\n", options_.batch);
  }
  start_broker();
  client_.emplace(new_client());
}

Stage::~Stage() {
  workers_.clear();
  broker_.reset();
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

Client Stage::new_client() const {
  return Client({.broker = endpoint_, .name = "bench", .request_jobs = options_.batch});
}

std::string Stage::program(const std::string& name) const { return programs_ + "/" + name; }

void Stage::stop_broker() {
  broker_->signal(SIGTERM);
  check_good_end(*broker_, "the broker");
}

double Stage::start_broker() {
  std::vector<std::string> words{program("millrace-broker"), "--listen", endpoint_, "--db",
                                 database()};
  if (options_.batch > 0) words.insert(words.end(), {"--config", folder_ + "/broker.toml"});
  broker_.reset();
  const auto begin = Clock::now();
  broker_ = std::make_unique<Process>(words, log("broker.log"));
  endpoint_ = broker_->wait_for_line("ready ");
  return seconds_since(begin);
}

void Stage::start_workers(std::size_t count, WorkerKind kind) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t number = workers_.size();
    std::vector<std::string> words;
    if (kind == WorkerKind::own)
      words = {program("millrace-bench"), "--worker", endpoint_, "--latencies",
               latencies_file(number)};
    else
      words = {program("millrace-worker"), "--broker", endpoint_};
    // With one pool the limit of the broker is that of the pool.
    if (kind == WorkerKind::program && options_.batch > 0)
      words.insert(words.end(), {"--cpu-threads", "0", "--loop-size", "0"});
    workers_.push_back(std::make_unique<Process>(words, log(fmt::format("worker-{}.log", number))));
  }
  for (const auto& worker : workers_) (void)worker->wait_for_line("connected to the broker");
}

void Stage::wait_for_workers() {
  for (const auto& worker : workers_) check_good_end(*worker, "a worker");
}

double Stage::workers_cpu_seconds() const {
  double sum = 0;
  for (const auto& worker : workers_) sum += worker->cpu_seconds();
  return sum;
}

std::string Stage::latencies_file(std::size_t worker) const {
  return log(fmt::format("latencies-{}", worker));
}

std::vector<double> Stage::latencies() const {
  std::vector<double> all;
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    std::ifstream file(latencies_file(i));
    for (double one = 0; file >> one;) all.push_back(one);
  }
  return all;
}

std::vector<JobRequest> make_jobs(std::size_t count, std::size_t payload_bytes,
                                  const std::string& kind) {
  const std::string payload = "\"" + std::string(payload_bytes - 2, 'x') + "\"";
  return {count, JobRequest{.kind = kind, .payload = Payload::text(payload)}};
}

}  // namespace millrace::bench

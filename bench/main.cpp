// millrace-bench: what a queue of real processes on a real disk does, beside what the disk, SQLite
// and ZeroMQ allow, all in one run. Here are its options; workloads are in workload.h.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "bench/disk.h"
#include "bench/own_worker.h"
#include "bench/processes.h"
#include "bench/workload.h"

namespace millrace::bench {
namespace {

namespace fs = std::filesystem;

struct Options {
  Settings settings = {};
  bool quick = false;
  std::vector<std::string> only = {};
  std::string json = {};
  std::string rivals = {};
  std::string worker = {};
  std::string latencies = {};
};

void define(CLI::App& app, Options& options) {
  std::vector<std::string> names;
  for (const Workload& workload : workloads()) names.emplace_back(workload.name);
  app.add_flag("--quick", options.quick, "A tenth of the jobs, one round");
  app.add_option("--only", options.only, "These workloads: limits, W1, W1s, W2 ... W7")
      ->delimiter(',')
      ->check(CLI::IsMember(names, CLI::ignore_case));
  app.add_option("--rounds", options.settings.rounds, "Medians of so many rounds (default: 3)")
      ->check(CLI::Range(1, 1000));
  app.add_option("--scale", options.settings.scale, "Share of the jobs (default: 1)")
      ->check(CLI::Range(0.0001, 100.0));
  app.add_option("--backlog", options.settings.backlogs,
                 "Jobs that wait in W4 (default: 100000,1000000)")
      ->delimiter(',')
      ->check(CLI::Range(std::size_t{1'000}, std::size_t{1'000'000'000}));
  app.add_option("--json", options.json, "Write the figures to this file");
  app.add_option("--rivals", options.rivals, "Show the figures of other queues from this file too")
      ->check(CLI::ExistingFile);
  // What it starts itself as.
  app.add_option("--worker", options.worker)->group("");
  app.add_option("--latencies", options.latencies)->group("");
}

bool is_chosen(const Options& options, const std::string& name) {
  if (options.only.empty()) return true;
  return std::any_of(options.only.begin(), options.only.end(), [&](const std::string& one) {
    return CLI::detail::to_lower(one) == CLI::detail::to_lower(name);
  });
}

void run_rounds(const Options& options, Report& report) {
  for (const Workload& workload : workloads()) report.title(workload.name, workload.title);
  for (std::size_t round = 1; round <= options.settings.rounds; ++round) {
    for (const Workload& workload : workloads()) {
      if (!is_chosen(options, workload.name)) continue;
      fmt::print(stderr, "round {} of {}: {}\n", round, options.settings.rounds, workload.name);
      Run run(options.settings, report, workload.name);
      workload.run(run);
    }
  }
}

/// Deletes the folder whatever happens; what a failure needs of it stands in its message.
struct Cleanup {
  std::string folder;
  ~Cleanup() {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
};

void run(Options& options) {
  if (!options.rivals.empty()) Report().merge(options.rivals);  // better fails now than at the end
  const Disk disk = make_folder();
  const Cleanup cleanup{disk.folder};
  options.settings.folder = disk.folder;
  options.settings.programs = fs::canonical("/proc/self/exe").parent_path().string();
  Report report;
  run_rounds(options, report);
  if (!options.rivals.empty()) report.merge(options.rivals);
  fmt::print("{} CPUs, {}; payloads of 100 bytes unless named; medians of {}; jobs x {:g}\n",
             sysconf(_SC_NPROCESSORS_ONLN), disk.file_system, options.settings.rounds,
             options.settings.scale);
  fmt::print("{}", report.table());
  if (!options.json.empty() && !(std::ofstream(options.json) << report.json()))
    throw std::runtime_error(options.json + " cannot be written");
}

int run_program(int argc, char** argv) {
  CLI::App app("Measures millrace on this machine, beside what the machine allows.");
  Options options;
  define(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 64;
  }
  if (options.quick) {
    options.settings.scale *= 0.1;
    if (app.count("--rounds") == 0) options.settings.rounds = 1;
  }
  if (!options.worker.empty()) return run_own_worker(options.worker, options.latencies);
  end_processes_on_signals();
  run(options);
  return 0;
}

}  // namespace
}  // namespace millrace::bench

int main(int argc, char** argv) {
  try {
    return millrace::bench::run_program(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "millrace-bench: {}\n", error.what());
    return 70;
  }
}

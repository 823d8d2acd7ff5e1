#include "tests/simulation/sim_options.h"

#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <thread>

#include "common/util/options.h"

namespace millrace::simulation {
namespace {

constexpr int kExitUsage = 64;

/// As they are written.
struct Words {
  std::string store = "memory";
  std::string synchronous = "full";
  std::string without;
  std::string seeds_from;
  std::uint64_t mutant = 0;
};

int complain(const std::string& what) {
  fmt::print(stderr, "millrace-sim: {}\n", what);
  return kExitUsage;
}

std::optional<std::string> read_faults(const std::string& words, std::vector<Fault>& faults) {
  for (std::size_t from = 0; from < words.size();) {
    const std::size_t to = std::min(words.find(',', from), words.size());
    Fault fault{};
    const std::string word = words.substr(from, to - from);
    if (!parse(word, fault)) return fmt::format("there is no fault `{}`", word);
    faults.push_back(fault);
    from = to + 1;
  }
  return std::nullopt;
}

std::optional<std::string> read_seeds(const std::string& path, std::vector<std::uint64_t>& seeds) {
  std::ifstream file(path);
  if (!file) return fmt::format("cannot read `{}`", path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() || line.front() == '#') continue;
    seeds.push_back(std::strtoull(line.c_str(), nullptr, 10));
  }
  return std::nullopt;
}

std::optional<std::string> understand(const Words& words, SimOptions& options) {
  if (words.store != "memory" && words.store != "powerloss") return "--store memory|powerloss";
  if (words.synchronous != "full" && words.synchronous != "normal")
    return "--synchronous full|normal";
  options.request.store = words.store == "memory" ? StoreKind::memory : StoreKind::powerloss;
  options.request.synchronous = words.synchronous == "full" ? 2 : 1;
  options.mutant = static_cast<int>(words.mutant);
  if (auto wrong = read_faults(words.without, options.request.without)) return wrong;
  if (!words.seeds_from.empty()) return read_seeds(words.seeds_from, options.listed);
  return std::nullopt;
}

}  // namespace

std::optional<int> read_options(int argc, const char* const* argv, SimOptions& options) {
  Words words;
  options.jobs = std::max(1U, std::thread::hardware_concurrency());
  OptionParser parser("millrace-sim",
                      "Runs the broker's engine through seeded worlds of faults and checks that "
                      "every promise holds.");
  parser.add("seed", options.request.seed, "first seed");
  parser.add("seeds", options.seeds, "how many seeds");
  parser.add("seeds-from", words.seeds_from, "the seeds of this file instead, one a line");
  parser.add("jobs", options.jobs, "processes");
  parser.add("store", words.store, "memory, or powerloss: SQLite on a disk that loses writes");
  parser.add("synchronous", words.synchronous, "full, or normal, which loses acknowledged work");
  parser.add("mutant", words.mutant, "plant this bug");
  parser.add("mutants", options.all_mutants, "plant each bug in turn; all must be found");
  parser.add("list-mutants", options.list_mutants, "the bugs there are");
  parser.add("trace", options.trace, "print every event of one seed");
  parser.add("until", options.request.until, "end the faults earlier");
  parser.add("without", words.without, "classes of faults to leave out, with commas");
  parser.add("producers", options.request.producers, "at most so many");
  parser.add("workers", options.request.workers, "at most so many");
  if (const auto end = parser.parse(argc, argv)) return end;
  if (const auto wrong = understand(words, options)) return complain(*wrong);
  return std::nullopt;
}

}  // namespace millrace::simulation

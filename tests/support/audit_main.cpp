// millrace-audit: says whether a database accounts for every job that producers were promised.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "broker/store/file_check.h"
#include "broker/store/schema.h"
#include "common/util/options.h"
#include "tests/support/acked_ids.h"

namespace millrace {
namespace {

using broker::StoreError;
using broker::Violation;

constexpr const char* kDescription =
    "Says whether everything is in a database, once, with legal transitions. Reads only; also a "
    "file that a broker serves, or a copy of it with its -wal.";
constexpr const char* kFooter = R"(Each violation is one line, `rule: what`; the last line counts.
Exit codes: 0 clean, 1 violations, 64 usage, 65 a bad line in ACKED, 66 no such file,
74 the file cannot be read, 78 no millrace database or one of another format)";

struct Options {
  std::string db;
  std::string acked;
  bool all_ended = false;
  std::vector<std::string> final;
  std::uint64_t pruned_before = 0;
  bool clock_set = false;
  bool json = false;
};

/// Prints violations as they come, or keeps them for one JSON object at the end.
class Printer {
 public:
  explicit Printer(bool json) : json_(json) {}

  void add(Violation found) {
    ++violations_;
    if (json_)
      kept_.push_back({{"rule", std::move(found.rule)}, {"text", std::move(found.text)}});
    else
      fmt::print("{}: {}\n", found.rule, found.text);
  }
  void finish(std::uint64_t jobs, std::size_t acknowledged) const {
    if (!json_) {
      fmt::print("{} jobs, {} acknowledged, {} violations\n", jobs, acknowledged, violations_);
      return;
    }
    const nlohmann::ordered_json all = {
        {"jobs", jobs}, {"acknowledged", acknowledged}, {"violations", kept_}};
    fmt::print("{}\n", all.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  [[nodiscard]] bool is_clean() const { return violations_ == 0; }

 private:
  const bool json_;
  std::size_t violations_ = 0;
  nlohmann::ordered_json kept_ = nlohmann::ordered_json::array();
};

Result<AckedIds> read_acked(const std::string& path) {
  if (path.empty()) return AckedIds{};
  if (path == "-") return AckedIds::read(std::cin);
  std::ifstream file(path);
  if (!file || std::filesystem::is_directory(path))
    return fail(ErrorCode::no_input, fmt::format("cannot read `{}`", path));
  auto acked = AckedIds::read(file);
  if (!acked) return fail(acked.error().code, fmt::format("{}: {}", path, acked.error().message));
  return acked;
}

/// What each job of the file says about the promises.
void check_job(const Options& options, AckedIds& acked, Printer& printer, JobId id,
               std::optional<JobState> state) {
  const bool promised = acked.find(id);
  if (!state) return;  // a violation of its own
  if (options.all_ended && !is_final(*state))
    printer.add({"open", fmt::format("job {} is {}", id.value, to_string(*state))});
  if (promised && !options.final.empty() &&
      std::find(options.final.begin(), options.final.end(), to_string(*state)) ==
          options.final.end())
    printer.add({"final", fmt::format("job {} is {}, not {}", id.value, to_string(*state),
                                      fmt::join(options.final, " or "))});
}

int audit(const Options& options) {
  auto acked = read_acked(options.acked);
  if (!acked) {
    fmt::print(stderr, "millrace-audit: {}\n", acked.error().message);
    return exit_code(acked.error().code);
  }
  Printer printer(options.json);
  for (const JobId id : acked->repeated())
    printer.add({"twice", fmt::format("id {} was acknowledged twice", id.value)});
  broker::FileCheckOptions check;
  check.rows.times = !options.clock_set;
  check.on_job = [&](JobId id, std::optional<JobState> state) {
    check_job(options, *acked, printer, id, state);
  };
  const auto sink = [&](Violation found) { printer.add(std::move(found)); };
  const broker::FileSummary summary = broker::check_file(options.db, check, sink);
  if (summary.format < broker::kSchemaVersion)
    throw StoreError(ErrorCode::foreign_file,
                     fmt::format("`{}` has format {}, older than {}; a broker of this version "
                                 "brings it up to date",
                                 options.db, summary.format, broker::kSchemaVersion));
  for (const JobId id : acked->missing(JobId{options.pruned_before}))
    printer.add({"lost", fmt::format("job {} was acknowledged and is not there", id.value)});
  printer.finish(summary.jobs, acked->size());
  return printer.is_clean() ? kExitOk : kExitSomeFailed;
}

int run(int argc, const char* const* argv) {
  Options options;
  OptionParser parser("millrace-audit", kDescription);
  CLI::App& app = parser.app();
  app.footer(kFooter);
  app.add_option("DB", options.db, "The database")->required();
  app.add_option("ACKED", options.acked,
                 "Ids that producers were told, one a line or as rows of `enqueue --output jsonl`; "
                 "- for stdin. Without it the database is only held against itself");
  parser.add("all-ended", options.all_ended, "Every job must have ended");
  parser.add("final", options.final, "Each acknowledged job must be in one of these states");
  parser.add("pruned-before", options.pruned_before,
             "Acknowledged ids below this one may be gone by retention");
  parser.add("clock-set", options.clock_set,
             "The wall clock was set while a broker ran: compare no times");
  parser.add("json", options.json, "One JSON object instead of lines");
  if (const auto code = parser.parse(argc, argv)) return *code;
  for (const std::string& word : options.final) {
    JobState state{};
    if (parse(word, state)) continue;
    fmt::print(stderr, "millrace-audit: --final: `{}` is no state\n", word);
    return exit_code(ErrorCode::usage);
  }
  try {
    return audit(options);
  } catch (const StoreError& error) {
    fmt::print(stderr, "millrace-audit: {}\n", error.what());
    return exit_code(error.code());
  }
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) { return millrace::run(argc, argv); }

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "common/util/cpus.h"
#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/compare/advice.h"
#include "producer/compare/child.h"
#include "producer/compare/trial.h"
#include "producer/json_text.h"

namespace millrace::producer {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kJobsMax = 1'000'000;
/// As a worker has it.
constexpr std::uint64_t kSlotsMax = 4096;
constexpr std::array kWays = {Way::inline_run, Way::thread, Way::process, Way::loop};
/// Of the path of a socket, which may have 107, without what is appended to the folder.
constexpr std::size_t kFolderBytesMax = 80;

/// A new folder that is removed with all that is in it.
class ScratchFolder {
 public:
  [[nodiscard]] Status make() {
    std::error_code none;
    fs::path place = fs::temp_directory_path(none);
    if (none || place.native().size() > kFolderBytesMax) place = "/tmp";
    std::string name = (place / "millrace-compare-XXXXXX").native();
    if (mkdtemp(name.data()) == nullptr)
      return fail(ErrorCode::internal,
                  fmt::format("no folder could be made in {}: {}", place.native(),
                              std::generic_category().message(errno)));
    path_ = name;
    return {};
  }
  ScratchFolder() = default;
  ~ScratchFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Status check_options(const CompareOptions& options) {
  if (Status good = check_kind(options.kind); !good) return good;
  if (options.jobs < 1 || options.jobs > kJobsMax)
    return fail(ErrorCode::usage,
                fmt::format("--jobs {}: use 1 to {}", options.jobs, format_count(kJobsMax)));
  if (options.size > kSlotsMax)
    return fail(ErrorCode::usage, fmt::format("--size {}: use 0 to {}", options.size, kSlotsMax));
  if (!options.worker.empty() && !options.kinds.empty())
    return fail(ErrorCode::usage, "--kind is for millrace-worker: leave it out, or --worker");
  for (const std::string& payload : options.payloads)
    if (!is_json(payload))
      return fail(ErrorCode::bad_data, fmt::format("the payload is no JSON value: {}", payload));
  return {};
}

/// The programs that stand beside this one.
Result<TrialPlan> make_plan(const CompareOptions& options) {
  std::error_code failed;
  const fs::path folder = fs::read_symlink("/proc/self/exe", failed).parent_path();
  TrialPlan plan{.kind = options.kind, .jobs = options.jobs, .slots = options.size};
  plan.broker_program = (folder / "millrace-broker").native();
  plan.takes_broker = options.worker.empty();
  plan.worker = {plan.takes_broker ? (folder / "millrace-worker").native() : options.worker};
  for (const std::string& program : {plan.broker_program, plan.worker.front()})
    if (program.find('/') != std::string::npos && access(program.c_str(), X_OK) != 0)
      return fail(ErrorCode::no_input, fmt::format("there is no program {}", program));
  for (const std::string& kind : options.kinds) {
    plan.worker.emplace_back("--kind");
    plan.worker.push_back(kind);
  }
  for (const std::string& payload : options.payloads)
    plan.payloads.push_back(compact_json(payload));
  if (plan.payloads.empty()) plan.payloads.emplace_back("null");
  return plan;
}

int print(Context& context, const std::string& kind, const std::vector<Figures>& rows,
          unsigned cpus) {
  Output& output = context.output();
  const std::string advice = advise(kind, rows);
  if (output.is_table()) {
    Table table(compare_titles());
    for (const Figures& row : rows) table.add(compare_cells(row, rows.front(), cpus));
    table.print(output);
    output.line(advice);
  } else {
    context.note(advice);
  }
  output.finish();
  if (!output.failure()) return context.give_up(output.failure().error());
  for (const Figures& row : rows)
    if (row.died || row.failed > 0) return kExitSomeFailed;
  return kExitOk;
}

}  // namespace

int run_compare(Context& context, const CompareOptions& options) {
  if (const Status good = check_options(options); !good) return context.give_up(good.error());
  auto plan = make_plan(options);
  if (!plan) return context.give_up(plan.error());
  const OrphanKeeper orphans;
  ScratchFolder folder;
  if (const Status good = folder.make(); !good) return context.give_up(good.error());

  const unsigned cpus = cpu_quota();
  context.note(fmt::format("{} of `{}` in each way, and some before the clock starts; {}",
                           format_count(options.jobs, "job"), options.kind,
                           format_count(cpus, "CPU")));
  Trials trials(std::move(*plan), folder.path(), context.stop_fd());
  std::vector<Figures> rows;
  for (const Way way : kWays) {
    auto figures = trials.measure(way);
    if (!figures) return context.give_up(figures.error());
    rows.push_back(std::move(*figures));
    if (context.output().is_table()) continue;
    context.output().row(to_json(rows.back(), rows.front(), cpus));
    context.output().flush();
  }
  return print(context, options.kind, rows, cpus);
}

}  // namespace millrace::producer

#include "broker/file_commands.h"

#include <fmt/format.h>

#include <cstdio>
#include <vector>

#include "broker/store/backup.h"
#include "broker/store/schema.h"

namespace millrace::broker {
namespace {

/// "12 jobs (10 done, 2 ready)"
std::string describe(const FileSummary& content) {
  if (!content.rows_checked) return fmt::format("format {}", content.format);
  std::vector<std::string> states;
  for (std::size_t i = 0; i < kJobStateCount; ++i)
    if (content.states.at(i) != 0)
      states.push_back(
          fmt::format("{} {}", content.states.at(i), to_string(static_cast<JobState>(i))));
  if (states.empty()) return "no jobs";
  return fmt::format("{} jobs ({})", content.jobs, fmt::join(states, ", "));
}

template <class Work>
int guarded(const Work& work) {
  try {
    return work();
  } catch (const StoreError& error) {
    fmt::print(stderr, "millrace-broker: {}\n", error.what());
    return exit_code(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "millrace-broker: {}\n", error.what());
    return exit_code(ErrorCode::internal);
  }
}

}  // namespace

int run_backup(const std::string& db, const std::string& file) {
  return guarded([&] {
    const FileSummary content = backup_database(db, file);
    fmt::print("`{}` is backed up as `{}`: {}\n", db, file, describe(content));
    return kExitOk;
  });
}

int run_restore(const std::string& db, const std::string& file) {
  return guarded([&] {
    const Restored restored = restore_database(file, db);
    fmt::print("`{}` is restored from `{}`: {}\n", db, file, describe(restored.content));
    fmt::print("epoch {}; {} jobs were running and are ready again; ids go on above {}\n",
               restored.content.epoch, restored.leases_ended, restored.last_job.value);
    return kExitOk;
  });
}

int run_db_check(const std::string& db) {
  return guarded([&] {
    std::size_t problems = 0;
    // Setting the wall clock damages nothing.
    const FileCheckOptions options{.rows = {.times = false}, .on_job = {}};
    const FileSummary content = check_file(db, options, [&](const Violation& found) {
      ++problems;
      fmt::print("{}: {}\n", found.rule, found.text);
    });
    if (!content.rows_checked && problems == 0)
      fmt::print(stderr,
                 "millrace-broker: `{}` has format {}, older than {}: only its pages were checked; "
                 "a broker of this version brings it up to date\n",
                 db, content.format, kSchemaVersion);
    if (problems != 0) return exit_code(ErrorCode::corrupt);
    fmt::print("ok\n");
    return kExitOk;
  });
}

}  // namespace millrace::broker

// millrace-broker: keeps the queue.

#include <CLI/CLI.hpp>
#include <functional>

#include "broker/app.h"
#include "broker/file_commands.h"
#include "common/util/log.h"
#include "common/util/options.h"

namespace {

void add_limits(millrace::OptionParser& parser, millrace::Limits& limits) {
  parser.add_config_only("limits.payload_bytes_max", limits.payload_bytes_max);
  parser.add_config_only("limits.result_bytes_max", limits.result_bytes_max);
  parser.add_config_only("limits.error_bytes_max", limits.error_bytes_max);
  parser.add_config_only("limits.enqueue_jobs_max", limits.enqueue_jobs_max);
  parser.add_config_only("limits.enqueue_bytes_max", limits.enqueue_bytes_max);
  parser.add_config_only("limits.leases_per_worker_max", limits.leases_per_worker_max);
  parser.add_config_only("limits.queue_jobs_max", limits.queue_jobs_max);
  parser.add_config_only("limits.lanes_max", limits.lanes_max);
  parser.add_config_only("limits.sessions_max", limits.sessions_max);
  parser.add_config_only("limits.parked_bytes_max", limits.parked_bytes_max);
  parser.add_config_only("limits.window_jobs_max", limits.window_jobs_max);
  parser.add_config_only("limits.window_bytes_max", limits.window_bytes_max);
  parser.add_config_only("limits.results_rows_max", limits.results_rows_max);
  parser.add_config_only("limits.results_bytes_max", limits.results_bytes_max);
  parser.add_config_only("limits.output_rows_max", limits.output_rows_max);
  parser.add_config_only("limits.output_bytes_max", limits.output_bytes_max);
  parser.add_config_only("limits.output_item_bytes_max", limits.output_item_bytes_max);
  parser.add_config_only("limits.waits_per_session_max", limits.waits_per_session_max);
}

millrace::Status check_retention(std::string_view text) {
  return millrace::broker::parse_retention_rule(text).map([](const auto&) {});
}

using FileCommand = std::function<int(const std::string& db)>;

/// The commands that work on files. None of them given: the broker serves.
void add_commands(CLI::App& app, std::string& file, FileCommand& chosen) {
  using namespace millrace::broker;
  const auto add = [&](CLI::App& parent, const std::string& name, const std::string& help,
                       FileCommand command) {
    CLI::App* added = parent.add_subcommand(name, help);
    added->callback([&chosen, command = std::move(command)] { chosen = command; });
    return added;
  };
  app.require_subcommand(0, 1);
  add(app, "backup", "Copy the database to a new file, also while a broker serves it",
      [&file](const std::string& db) { return run_backup(db, file); })
      ->add_option("FILE", file, "The new file; never replaced")
      ->required();
  add(app, "restore", "Make the database from a backup; leases from before are void",
      [&file](const std::string& db) { return run_restore(db, file); })
      ->add_option("FILE", file, "The backup; left as it is")
      ->required();
  CLI::App* group = app.add_subcommand("db", "Look at the database");
  group->require_subcommand(1);
  add(*group, "check", "Read all of it and print `ok` or each problem; also beside a broker",
      run_db_check);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace millrace;
  broker::AppOptions options;
  std::string log_level = "info";
  ByteSize min_free{options.min_free_bytes};
  std::vector<std::string> retention{"7d"};

  OptionParser parser("millrace-broker",
                      "Keeps a durable job queue in one SQLite file and serves "
                      "producers and workers. With a command it works on the file instead.");
  parser.add("listen", options.listen, "tcp://ADDRESS:PORT (port * picks one) or ipc://PATH");
  parser.add("db", options.db, "the SQLite file; made if it does not exist");
  parser.add("retention", retention, check_retention,
             "how long ended jobs are kept, 0: for ever; or rules such as "
             "'queue=mail state=dead age=30d jobs=1000 bytes=1GB'");
  parser.add("backup-dir", options.backup_dir, "where backups go that are asked for by producers");
  parser.add("min-free", min_free, "with less free disk space new jobs are refused");
  parser.add("log-level", log_level, "debug, info, warn or error");
  add_limits(parser, options.limits);
  std::string file;
  FileCommand command;
  add_commands(parser.app(), file, command);
  if (const auto code = parser.parse(argc, argv)) return *code;
  if (command) return command(options.db);

  const auto level = log::parse_level(log_level);
  if (!level) {
    log::error("--log-level: {}", level.error().message);
    return exit_code(ErrorCode::usage);
  }
  log::init(*level);
  if (const auto good = check(options.limits); !good) {
    log::error("{}", good.error().message);
    return exit_code(good.error().code);
  }
  for (const std::string& rule : retention)
    options.retention.rules.push_back(*broker::parse_retention_rule(rule));
  options.min_free_bytes = min_free.bytes;
  const Signals signals;  // before any thread starts
  return broker::run_broker(options, signals);
}

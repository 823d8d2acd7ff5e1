#include "producer/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "producer/cli_parser.h"

namespace millrace::producer {
namespace {

constexpr const char* kExamples = R"(Examples:
  millrace-producer urls list.txt
  millrace-producer primes 1 1000000
  millrace-producer enqueue sleep '{"ms": 500}' --wait
  millrace-producer enqueue echo '"report"' --unique-key report --wait
  millrace-producer replay --state dead --since 2026-11-21 --verify
  millrace-producer compare sum '{"n": 100000000}' --jobs 20
  millrace-producer close default --wait)";

/// The library takes `[1, 2]` for a list of two values wherever several are allowed, as for the
/// payloads of `compare`. JSON may have a space in front, and then it does not.
std::vector<std::string> protect_arrays(int argc, const char* const* argv) {
  std::vector<std::string> words(argv, argv + argc);
  const auto compare = std::find(words.begin(), words.end(), "compare");
  for (auto word = compare; word != words.end(); ++word)
    if (word->starts_with('[')) word->insert(0, 1, ' ');
  return words;
}

}  // namespace

Cli::Cli() {
  CLI::App& app = parser_.app();
  app.require_subcommand(1);
  app.footer(kExamples);
  parser_.add("broker", broker_, "Where the broker listens");
  parser_.add("output", output_, "table, json (one array) or jsonl (a row a line)");
  parser_.add("reconnect", reconnect_, "How long to wait for a broker that went away");
  parser_.add("log-level", log_level_, "Messages on stderr: info, warn, error or off");
  add_enqueue(app);
  add_urls(app);
  add_primes(app);
  add_results(app);
  add_close_and_open(app);
  add_replay(app);
  add_compare(app);
  add_queue(app);
  add_job(app);
  add_batch(app);
  add_worker(app);
  add_kind(app);
  add_status_and_backup(app);
}

int Cli::run(int argc, const char* const* argv, const Signals& signals) {
  const std::vector<std::string> words = protect_arrays(argc, argv);
  std::vector<const char*> pointers;
  pointers.reserve(words.size());
  for (const std::string& word : words) pointers.push_back(word.c_str());
  if (const auto code = parser_.parse(argc, pointers.data())) return *code;
  ContextOptions options{.broker = broker_, .reconnect = reconnect_};
  if (const Status good = read_words(options); !good) {
    fmt::print(stderr, "millrace-producer: {}\n", good.error().message);
    return exit_code(good.error().code);
  }
  Context context(std::move(options), signals);
  return command_(context);
}

Status Cli::read_words(ContextOptions& options) const {
  if (!parse(output_, options.format))
    return fail(ErrorCode::usage,
                fmt::format("--output: `{}` is none of table, json, jsonl", output_));
  if (log_level_ == "warn") options.level = MessageLevel::warn;
  if (log_level_ == "error") options.level = MessageLevel::error;
  if (log_level_ == "off") options.level = MessageLevel::off;
  for (const char* word : {"trace", "debug", "info", "warn", "error", "off"})
    if (log_level_ == word) return {};
  return fail(ErrorCode::usage,
              fmt::format("--log-level: `{}` is none of info, warn, error, off", log_level_));
}

CLI::App& Cli::add_command(CLI::App& parent, const std::string& name, const std::string& help,
                           Command command) {
  CLI::App* added = parent.add_subcommand(name, help);
  added->callback([this, command = std::move(command)] { command_ = command; });
  return *added;
}

CLI::App& Cli::add_group(CLI::App& parent, const std::string& name, const std::string& help) {
  CLI::App* group = parent.add_subcommand(name, help);
  group->require_subcommand(1);
  return *group;
}

void Cli::add_filter(CLI::App& command, SelectOptions& select) {
  parser_.add(command, "id", select.ids, "Jobs with these ids");
  parser_.add(command, "batch", select.batch, "Jobs of this batch");
  parser_.add(command, "state", select.states, "Jobs in one of these states");
  parser_.add(command, "kind", select.kind, "Jobs of this kind");
  parser_.add(command, "queue", select.queue, "Jobs of this queue");
  parser_.add(command, "unique-key", select.unique_key, "Jobs that were given this unique key");
  parser_.add(command, "since", select.since, "Jobs that ended at or after this time");
  parser_.add(command, "until", select.until, "Jobs that ended before this time");
}

int run_cli(int argc, const char* const* argv, const Signals& signals) {
  return Cli().run(argc, argv, signals);
}

}  // namespace millrace::producer

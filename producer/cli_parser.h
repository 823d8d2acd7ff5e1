#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/util/options.h"
#include "producer/commands/commands.h"

namespace millrace::producer {

/// The command line of one run: where every option goes, and which command was named.
class Cli {
 public:
  Cli();
  [[nodiscard]] int run(int argc, const char* const* argv, const Signals& signals);

 private:
  using Command = std::function<int(Context&)>;

  [[nodiscard]] Status read_words(ContextOptions& options) const;
  CLI::App& add_command(CLI::App& parent, const std::string& name, const std::string& help,
                        Command command);
  static CLI::App& add_group(CLI::App& parent, const std::string& name, const std::string& help);
  void add_filter(CLI::App& command, SelectOptions& select);

  // cli_work.cpp: what makes jobs and streams results.
  void add_enqueue(CLI::App& app);
  void add_job_options(CLI::App& command, JobOptions& job);
  void add_urls(CLI::App& app);
  void add_primes(CLI::App& app);
  void add_results(CLI::App& app);
  void add_close_and_open(CLI::App& app);
  void add_replay(CLI::App& app);
  void add_compare(CLI::App& app);

  // cli_look.cpp: groups of commands that look at things and change them.
  void add_queue(CLI::App& app);
  void add_job(CLI::App& app);
  void add_job_actions(CLI::App& group);
  void add_job_output(CLI::App& group);
  void add_batch(CLI::App& app);
  void add_worker(CLI::App& app);
  void add_kind(CLI::App& app);
  void add_status_and_backup(CLI::App& app);

  OptionParser parser_{"millrace-producer",
                       "Hands jobs to a millrace broker and shows their results"};
  Command command_;
  std::string broker_ = kEndpointDefault;
  std::string output_ = "table";
  std::string log_level_ = "info";
  Duration reconnect_{60'000};
  EnqueueOptions enqueue_;
  UrlsOptions urls_;
  PrimesOptions primes_;
  ResultsOptions results_;
  ReplayOptions replay_;
  CompareOptions compare_;
  QueueOptions queue_;
  PurgeOptions purge_;
  JobListOptions job_list_;
  JobActOptions job_act_;
  JobOutputOptions job_output_;
  BatchActOptions batch_act_;
  WorkerStopOptions worker_stop_;
  KindSetOptions kind_set_;
  std::vector<std::string> job_ids_;
  std::string id_;  // of whatever the command shows, or a file
  std::uint64_t batch_limit_ = 50;
};

}  // namespace millrace::producer

#include "producer/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>

#include "common/util/options.h"
#include "producer/commands/commands.h"

namespace millrace::producer {
namespace {

constexpr const char* kExamples = R"(Examples:
  millrace-producer urls list.txt
  millrace-producer primes 1 1000000
  millrace-producer enqueue sleep '{"ms": 500}' --wait
  millrace-producer close default --wait)";

/// The command line of one run: where every option goes, and which command was named.
class Cli {
 public:
  Cli() {
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
    add_queue(app);
    add_job(app);
    add_looks(app);
  }

  int run(int argc, const char* const* argv, const Signals& signals) {
    if (const auto code = parser_.parse(argc, argv)) return *code;
    ContextOptions options{.broker = broker_, .reconnect = reconnect_};
    if (const Status good = read_words(options); !good) {
      fmt::print(stderr, "millrace-producer: {}\n", good.error().message);
      return exit_code(good.error().code);
    }
    Context context(std::move(options), signals);
    return command_(context);
  }

 private:
  using Command = std::function<int(Context&)>;

  Status read_words(ContextOptions& options) const {
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

  CLI::App& add_command(CLI::App& parent, const std::string& name, const std::string& help,
                        Command command) {
    CLI::App* added = parent.add_subcommand(name, help);
    added->callback([this, command = std::move(command)] { command_ = command; });
    return *added;
  }

  CLI::App& add_group(CLI::App& parent, const std::string& name, const std::string& help) {
    CLI::App* group = parent.add_subcommand(name, help);
    group->require_subcommand(1);
    return *group;
  }

  void add_enqueue(CLI::App& app) {
    CLI::App& command =
        add_command(app, "enqueue", "Enqueue one job, or one for each line of stdin",
                    [this](Context& context) { return run_enqueue(context, enqueue_); });
    command.add_option("KIND", enqueue_.kind, "Which handler runs it, e.g. sleep")->required();
    command.add_option_function<std::string>(
        "PAYLOAD", [this](const std::string& text) { enqueue_.payload = text; },
        "JSON text, or - for one payload a line from stdin (default: null)");
    parser_.add(command, "queue", enqueue_.queue, "Queue");
    parser_.add(command, "priority", enqueue_.priority, "0 (most urgent) to 255");
    parser_.add(command, "delay", enqueue_.delay, "Run it no earlier than this long from now");
    parser_.add(command, "at", enqueue_.at, "Run it no earlier than this time (ISO 8601)");
    parser_.add(command, "max-attempts", enqueue_.max_attempts, "Tries before it is dead");
    parser_.add(command, "timeout", enqueue_.timeout, "Longest time of one try (default: none)");
    parser_.add(command, "wait", enqueue_.wait, "Print the results as they arrive");
  }

  void add_urls(CLI::App& app) {
    CLI::App& command = add_command(app, "urls", "Check a list of URLs, one a line",
                                    [this](Context& context) { return run_urls(context, urls_); });
    command.add_option("FILE", urls_.file, "The list, or - for stdin")->required();
    parser_.add(command, "queue", urls_.queue, "Queue");
    parser_.add(command, "timeout", urls_.timeout, "Longest time of one request");
    parser_.add(command, "method", urls_.method, "GET or HEAD");
    parser_.add(command, "max-attempts", urls_.max_attempts, "Tries before a URL has no status");
    parser_.add(command, "redirects", urls_.redirects, "Redirects to follow; 0: show them");
    parser_.add(command, "strict", urls_.strict, "Enqueue nothing if any line is bad");
  }

  void add_primes(CLI::App& app) {
    CLI::App& command =
        add_command(app, "primes", "Count or list the primes of a range, both ends included",
                    [this](Context& context) { return run_primes(context, primes_); });
    command.add_option("FROM", primes_.from, "First number")->required();
    command.add_option("TO", primes_.to, "Last number")->required();
    parser_.add(command, "queue", primes_.queue, "Queue");
    parser_.add(command, "chunk", primes_.chunk, "Numbers in one job; 0: by the size of the range");
    parser_.add(command, "list", primes_.list, "Print the primes as they arrive");
    parser_.add(command, "ordered", primes_.ordered, "Print in the order of the range");
  }

  void add_results(CLI::App& app) {
    CLI::App& command =
        add_command(app, "results", "Stream the results of a batch",
                    [this](Context& context) { return run_results(context, results_); });
    command.add_option("BATCH", results_.batch, "Id of the batch")->required();
    parser_.add(command, "from", results_.from, "Only what ended after this cursor");
  }

  void add_close_and_open(CLI::App& app) {
    CLI::App& close =
        add_command(app, "close", "End a queue: workers leave when its last job has ended",
                    [this](Context& context) { return run_close(context, queue_); });
    close.add_option("QUEUE", queue_.queue, "Queue")->required();
    parser_.add(close, "wait", queue_.wait, "Return when the queue is drained");
    CLI::App& open = add_command(app, "open", "Open a closed or drained queue again",
                                 [this](Context& context) { return run_open(context, queue_); });
    open.add_option("QUEUE", queue_.queue, "Queue")->required();
  }

  void add_filter(CLI::App& command, SelectOptions& select) {
    parser_.add(command, "batch", select.batch, "Jobs of this batch");
    parser_.add(command, "state", select.states, "Jobs in one of these states");
    parser_.add(command, "kind", select.kind, "Jobs of this kind");
    parser_.add(command, "queue", select.queue, "Jobs of this queue");
    parser_.add(command, "since", select.since, "Jobs that ended at or after this time");
    parser_.add(command, "until", select.until, "Jobs that ended before this time");
  }

  void add_replay(CLI::App& app) {
    CLI::App& command =
        add_command(app, "replay", "Enqueue ended jobs again as new ones",
                    [this](Context& context) { return run_replay(context, replay_); });
    parser_.add(command, "id", replay_.select.ids, "Jobs with these ids");
    add_filter(command, replay_.select);
    parser_.add(command, "dry-run", replay_.dry_run, "Only list what would be replayed");
    parser_.add(command, "wait", replay_.wait, "Print the results as they arrive");
  }

  void add_queue(CLI::App& app) {
    CLI::App& group = add_group(app, "queue", "Look at queues, pause, resume and purge them");
    add_command(group, "ls", "All queues", run_queue_ls);
    const auto add_one = [&](const std::string& name, const std::string& help,
                             int (*act)(Context&, const QueueOptions&)) {
      CLI::App& command = add_command(
          group, name, help, [this, act](Context& context) { return act(context, queue_); });
      command.add_option("QUEUE", queue_.queue, "Queue")->required();
    };
    add_one("show", "One queue", run_queue_show);
    add_one("pause", "Give out no more jobs", run_queue_pause);
    add_one("resume", "Give out jobs again", run_queue_resume);
    add_one("purge", "Cancel every waiting job", run_queue_purge);
  }

  void add_job(CLI::App& app) {
    CLI::App& group = add_group(app, "job", "Look at jobs, cancel and redrive them");
    CLI::App& list =
        add_command(group, "ls", "The newest jobs that match",
                    [this](Context& context) { return run_job_ls(context, job_list_); });
    add_filter(list, job_list_.select);
    parser_.add(list, "limit", job_list_.limit, "How many at most");
    CLI::App& show =
        add_command(group, "show", "Everything about one job",
                    [this](Context& context) { return run_job_show(context, job_id_); });
    show.add_option("ID", job_id_, "Job")->required();
    const auto add_act = [&](const std::string& name, const std::string& help,
                             int (*act)(Context&, const JobActOptions&)) {
      CLI::App& command = add_command(
          group, name, help, [this, act](Context& context) { return act(context, job_act_); });
      command.add_option("ID", job_act_.select.ids, "Jobs");
      add_filter(command, job_act_.select);
      parser_.add(command, "dry-run", job_act_.dry_run, "Only list the jobs");
    };
    add_act("cancel", "End jobs that have not ended, by id or by filter", run_job_cancel);
    add_act("redrive", "Make dead jobs ready again, by id or by filter", run_job_redrive);
  }

  void add_looks(CLI::App& app) {
    CLI::App& batch = add_group(app, "batch", "Look at batches");
    CLI::App& list = add_command(batch, "ls", "The newest batches", [this](Context& context) {
      return run_batch_ls(context, batch_limit_);
    });
    parser_.add(list, "limit", batch_limit_, "How many at most");
    CLI::App& show = add_command(batch, "show", "One batch", [this](Context& context) {
      return run_batch_show(context, batch_id_);
    });
    show.add_option("ID", batch_id_, "Batch")->required();
    CLI::App& worker = add_group(app, "worker", "Look at workers");
    add_command(worker, "ls", "All connected workers", run_worker_ls);
    add_command(app, "status", "The broker, its queues and workers", run_status);
  }

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
  QueueOptions queue_;
  JobListOptions job_list_;
  JobActOptions job_act_;
  std::string job_id_;
  std::string batch_id_;
  std::uint64_t batch_limit_ = 50;
};

}  // namespace

int run_cli(int argc, const char* const* argv, const Signals& signals) {
  return Cli().run(argc, argv, signals);
}

}  // namespace millrace::producer

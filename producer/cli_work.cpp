// The commands that make jobs and stream their results.

#include <CLI/CLI.hpp>

#include "producer/cli_parser.h"

namespace millrace::producer {

void Cli::add_enqueue(CLI::App& app) {
  CLI::App& command =
      add_command(app, "enqueue", "Enqueue one job, or one for each line of stdin",
                  [this](Context& context) { return run_enqueue(context, enqueue_); });
  command.add_option("KIND", enqueue_.kind, "Which handler runs it, e.g. sleep")->required();
  command.add_option_function<std::string>(
      "PAYLOAD", [this](const std::string& text) { enqueue_.payload = text; },
      "JSON text, or - for one payload a line from stdin (default: null)");
  parser_.add(command, "queue", enqueue_.queue, "Queue");
  add_job_options(command, enqueue_.job);
  parser_.add(command, "wait", enqueue_.wait, "Print the results as they arrive");
}

void Cli::add_job_options(CLI::App& command, JobOptions& job) {
  parser_.add(command, "priority", job.priority, "0 (most urgent) to 255");
  parser_.add(command, "delay", job.delay, "Run it no earlier than this long from now");
  parser_.add(command, "at", job.at, "Run it no earlier than this time (ISO 8601)");
  parser_.add(command, "expires", job.expires, "Give it up if it still waits so long from now");
  parser_.add(command, "expires-at", job.expires_at, "Give it up if it still waits at this time");
  parser_.add(command, "max-attempts", job.max_attempts,
              "Tries before it is dead (default: as its kind says, else 3)");
  parser_.add(command, "crashes-max", job.crashes_max,
              "Lost workers before it is dead (default: as its kind says, else 3)");
  parser_.add(command, "timeout", job.timeout,
              "Longest time of one try (default: as its kind says, else none)");
  parser_.add(command, "retry", job.retry,
              "Delays between tries: `exponential:1s cap:5m jitter:50`, `linear:5s` or `1s,5s,30s` "
              "(default: as its kind says, else the first)");
  parser_.add(command, "unique-key", job.unique_key, "No two jobs of the queue hold the same key");
  parser_.add(command, "unique-scope", job.unique_scope,
              "It holds the key while queued, while active (until it has ended; the default), or "
              "for a time: ttl");
  parser_.add(command, "unique-ttl", job.unique_ttl, "It holds the key so long (scope ttl)");
  parser_.add(command, "on-conflict", job.on_conflict,
              "If another job holds the key: existing (take that one; the default), reject, or "
              "replace (cancel that one if it still waits)");
}

void Cli::add_urls(CLI::App& app) {
  CLI::App& command = add_command(app, "urls", "Check a list of URLs, one a line",
                                  [this](Context& context) { return run_urls(context, urls_); });
  command.add_option("FILE", urls_.file, "The list, or - for stdin")->required();
  parser_.add(command, "queue", urls_.queue, "Queue");
  parser_.add(command, "timeout", urls_.timeout, "Longest time of one request");
  parser_.add(command, "method", urls_.method, "GET or HEAD");
  parser_.add(command, "max-attempts", urls_.max_attempts,
              "Tries before a URL has no status (default: as url.check says, else 3)");
  parser_.add(command, "retry", urls_.retry,
              "Delays between tries, e.g. `exponential:1s`, `1s,5s`");
  parser_.add(command, "redirects", urls_.redirects, "Redirects to follow; 0: show them");
  parser_.add(command, "strict", urls_.strict, "Enqueue nothing if any line is bad");
}

void Cli::add_primes(CLI::App& app) {
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

void Cli::add_results(CLI::App& app) {
  CLI::App& command =
      add_command(app, "results", "Stream the results of a batch",
                  [this](Context& context) { return run_results(context, results_); });
  command.add_option("BATCH", results_.batch, "Id of the batch")->required();
  parser_.add(command, "from", results_.from, "Only what ended after this cursor");
}

void Cli::add_close_and_open(CLI::App& app) {
  CLI::App& close =
      add_command(app, "close", "End a queue: workers leave when its last job has ended",
                  [this](Context& context) { return run_close(context, queue_); });
  close.add_option("QUEUE", queue_.queue, "Queue")->required();
  parser_.add(close, "wait", queue_.wait, "Return when the queue is drained");
  CLI::App& open = add_command(app, "open", "Open a closed or drained queue again",
                               [this](Context& context) { return run_open(context, queue_); });
  open.add_option("QUEUE", queue_.queue, "Queue")->required();
}

void Cli::add_replay(CLI::App& app) {
  CLI::App& command =
      add_command(app, "replay", "Enqueue ended jobs again as new ones",
                  [this](Context& context) { return run_replay(context, replay_); });
  add_filter(command, replay_.select);
  parser_.add(command, "dry-run", replay_.dry_run, "Only list what would be replayed");
  parser_.add(command, "wait", replay_.wait, "Print the results as they arrive");
  parser_.add(command, "verify", replay_.verify,
              "Wait, and print what ended otherwise than the original; exit code 1 then");
  parser_.add(command, "force", replay_.force, "Also kinds that are not to be replayed");
}

void Cli::add_compare(CLI::App& app) {
  CLI::App& command =
      add_command(app, "compare",
                  "Run the same jobs inline, on threads, in processes and on the loop, with a "
                  "broker and workers of its own, and say what each took",
                  [this](Context& context) { return run_compare(context, compare_); });
  command.add_option("KIND", compare_.kind, "Which handler runs them, e.g. sum")->required();
  command.add_option("PAYLOAD", compare_.payloads, "JSON texts, taken in turn (default: null)");
  parser_.add(command, "jobs", compare_.jobs, "How many, each time");
  parser_.add(command, "size", compare_.size,
              "Jobs at once in each pool; 0: as a worker has them by default");
  parser_.add(command, "kind", compare_.kinds,
              "NAME=COMMAND, as millrace-worker has it; may be repeated");
  parser_.add(command, "worker", compare_.worker,
              "A worker program built with the library, for its kinds");
}

}  // namespace millrace::producer

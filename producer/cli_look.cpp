// The groups of commands that look at queues, jobs, batches, workers and kinds, and change them.

#include <CLI/CLI.hpp>

#include "producer/cli_parser.h"

namespace millrace::producer {

void Cli::add_queue(CLI::App& app) {
  CLI::App& group = add_group(app, "queue", "Look at queues, pause, resume and purge them");
  add_command(group, "ls", "All queues", run_queue_ls);
  const auto add_one = [&](const std::string& name, const std::string& help,
                           int (*act)(Context&, const QueueOptions&)) {
    CLI::App& command = add_command(group, name, help,
                                    [this, act](Context& context) { return act(context, queue_); });
    command.add_option("QUEUE", queue_.queue, "Queue")->required();
  };
  add_one("show", "One queue", run_queue_show);
  add_one("pause", "Give out no more jobs", run_queue_pause);
  add_one("resume", "Give out jobs again", run_queue_resume);
  CLI::App& purge =
      add_command(group, "purge", "Cancel every waiting job",
                  [this](Context& context) { return run_queue_purge(context, purge_); });
  purge.add_option("QUEUE", purge_.queue, "Queue")->required();
  parser_.add(purge, "kind", purge_.kind, "Only jobs of this kind");
  parser_.add(purge, "state", purge_.states, "Only these of blocked, scheduled, ready");
  parser_.add(purge, "dry-run", purge_.dry_run, "Only list the jobs");
}

void Cli::add_job(CLI::App& app) {
  CLI::App& group = add_group(app, "job", "Look at jobs, wait for them, cancel and redrive them");
  CLI::App& list = add_command(group, "ls", "The newest jobs that match",
                               [this](Context& context) { return run_job_ls(context, job_list_); });
  add_filter(list, job_list_.select);
  parser_.add(list, "limit", job_list_.limit, "How many at most");
  CLI::App& show = add_command(group, "show", "Everything about one job",
                               [this](Context& context) { return run_job_show(context, id_); });
  show.add_option("ID", id_, "Job")->required();
  CLI::App& wait =
      add_command(group, "wait", "Print how jobs ended, once they have",
                  [this](Context& context) { return run_job_wait(context, job_ids_); });
  wait.add_option("ID", job_ids_, "Jobs")->required();
  add_job_output(group);
  add_job_actions(group);
}

void Cli::add_job_output(CLI::App& group) {
  const auto add = [&](const std::string& name, const std::string& help,
                       int (*act)(Context&, const JobOutputOptions&)) -> CLI::App& {
    CLI::App& command = add_command(
        group, name, help, [this, act](Context& context) { return act(context, job_output_); });
    command.add_option("ID", job_output_.id, "Job")->required();
    parser_.add(command, "from", job_output_.from, "Only what came after this cursor");
    parser_.add(command, "follow", job_output_.follow, "Go on until the job has ended");
    return command;
  };
  CLI::App& output =
      add("output", "What a job's runs left behind: log lines, progress, chunks", run_job_output);
  parser_.add(output, "type", job_output_.types, "Only these of log, progress, chunk");
  add("logs", "The log lines of a job's runs", run_job_logs);
}

void Cli::add_job_actions(CLI::App& group) {
  const auto add = [&](const std::string& name, const std::string& help,
                       int (*act)(Context&, const JobActOptions&)) {
    CLI::App& command = add_command(
        group, name, help, [this, act](Context& context) { return act(context, job_act_); });
    command.add_option("ID", job_act_.ids, "Jobs");
    add_filter(command, job_act_.select);
    parser_.add(command, "dry-run", job_act_.dry_run, "Only list the jobs");
  };
  add("cancel", "End jobs that have not ended, by id or by filter", run_job_cancel);
  add("redrive", "Make dead jobs ready again, by id or by filter", run_job_redrive);
}

void Cli::add_batch(CLI::App& app) {
  CLI::App& group = add_group(app, "batch", "Look at batches, cancel and redrive their jobs");
  CLI::App& list = add_command(group, "ls", "The newest batches", [this](Context& context) {
    return run_batch_ls(context, batch_limit_);
  });
  parser_.add(list, "limit", batch_limit_, "How many at most");
  CLI::App& show = add_command(group, "show", "One batch",
                               [this](Context& context) { return run_batch_show(context, id_); });
  show.add_option("ID", id_, "Batch")->required();
  const auto add = [&](const std::string& name, const std::string& help,
                       int (*act)(Context&, const BatchActOptions&)) {
    CLI::App& command = add_command(
        group, name, help, [this, act](Context& context) { return act(context, batch_act_); });
    command.add_option("ID", batch_act_.id, "Batch")->required();
    parser_.add(command, "dry-run", batch_act_.dry_run, "Only list the jobs");
  };
  add("cancel", "End the jobs of a batch that have not ended", run_batch_cancel);
  add("redrive", "Make the dead jobs of a batch ready again", run_batch_redrive);
}

void Cli::add_worker(CLI::App& app) {
  CLI::App& group = add_group(app, "worker", "Look at workers, and send them home");
  add_command(group, "ls", "All connected workers", run_worker_ls);
  CLI::App& show = add_command(group, "show", "One worker",
                               [this](Context& context) { return run_worker_show(context, id_); });
  show.add_option("WORKER", id_, "Id or name")->required();
  CLI::App& stop =
      add_command(group, "stop", "Let workers finish what they run, and end",
                  [this](Context& context) { return run_worker_stop(context, worker_stop_); });
  stop.add_option("WORKER", worker_stop_.workers, "Ids or names");
  parser_.add(stop, "queue", worker_stop_.queue, "Workers that offer this queue");
  parser_.add(stop, "all", worker_stop_.all, "All connected workers");
  parser_.add(stop, "dry-run", worker_stop_.dry_run, "Only list the workers");
}

void Cli::add_kind(CLI::App& app) {
  CLI::App& group = add_group(app, "kind", "Say what holds for the jobs of a kind");
  add_command(group, "ls", "The kinds of which workers or you said something", run_kind_ls);
  CLI::App& set =
      add_command(group, "set", "For jobs enqueued from now on that do not say otherwise",
                  [this](Context& context) { return run_kind_set(context, kind_set_); });
  set.add_option("KIND", kind_set_.kind, "Kind")->required();
  parser_.add(set, "max-attempts", kind_set_.max_attempts, "Tries before a job is dead");
  parser_.add(set, "crashes-max", kind_set_.crashes_max, "Lost workers before a job is dead");
  parser_.add(set, "timeout", kind_set_.timeout, "Longest time of one try");
  parser_.add(
      set, "retry", kind_set_.retry,
      "Delays between tries: `exponential:1s cap:5m jitter:50`, `linear:5s` or `1s,5s,30s`");
  parser_.add(set, "not-replayable", kind_set_.not_replayable,
              "Replays need --force; for jobs that are there already, too");
  parser_.add(set, "replayable", kind_set_.replayable, "The opposite");
  CLI::App& reset = add_command(group, "reset", "Forget what was said of a kind",
                                [this](Context& context) { return run_kind_reset(context, id_); });
  reset.add_option("KIND", id_, "Kind")->required();
}

void Cli::add_status_and_backup(CLI::App& app) {
  add_command(app, "status", "The broker, its queues and workers", run_status);
  CLI::App& backup =
      add_command(app, "backup", "Copy the broker's database, while it is in use, to a new file",
                  [this](Context& context) { return run_backup(context, id_); });
  backup.add_option("FILE", id_, "On the broker's machine")->required();
}

}  // namespace millrace::producer

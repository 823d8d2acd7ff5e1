#include <fmt/format.h>

#include <algorithm>

#include "common/util/parse.h"
#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"

namespace millrace::producer {
namespace {

using protocol::WorkerInfo;

/// The worker with this id, else all of this name. Error: not_found.
Result<std::vector<WorkerInfo>> find_workers(const protocol::Report& report,
                                             const std::string& word) {
  std::vector<WorkerInfo> found;
  for (const WorkerInfo& worker : report.workers)
    if (fmt::format("{}", worker.worker.value) == word) return std::vector<WorkerInfo>{worker};
  std::copy_if(report.workers.begin(), report.workers.end(), std::back_inserter(found),
               [&](const WorkerInfo& worker) { return worker.name == word; });
  if (!found.empty()) return found;
  return fail(ErrorCode::not_found,
              fmt::format("no connected worker has the id or name `{}`", word));
}

void print_worker(Context& context, const protocol::Report& report, const WorkerInfo& worker) {
  const auto line = [&](std::string_view name, std::string_view value) {
    context.output().line(fmt::format("{:<10} {}", name, printable(value)));
  };
  line("worker", fmt::format("{}", worker.worker.value));
  line("name", worker.name);
  line("host", worker.host);
  line("pid", fmt::format("{}", worker.pid));
  line("queues", fmt::format("{}", fmt::join(worker.queues, ", ")));
  for (const auto& [pool, slots] : worker.pools) line("pool " + pool, format_count(slots, "slot"));
  line("leases", format_count(worker.leases));
  line("until", to_string(worker.until));
  line("connected", format_time(worker.connected_at));
  line("seen", fmt::format("{} ({} ms ago)", format_time(worker.seen_at),
                           (report.now - worker.seen_at).count()));
}

Result<std::vector<WorkerInfo>> select_workers(const protocol::Report& report,
                                               const WorkerStopOptions& options) {
  std::vector<WorkerInfo> chosen;
  const auto add = [&](const WorkerInfo& worker) {
    if (std::none_of(chosen.begin(), chosen.end(),
                     [&](const WorkerInfo& one) { return one.worker == worker.worker; }))
      chosen.push_back(worker);
  };
  for (const std::string& word : options.workers) {
    const auto found = find_workers(report, word);
    if (!found) return found;
    for (const WorkerInfo& worker : *found) add(worker);
  }
  for (const WorkerInfo& worker : report.workers) {
    const bool offers =
        std::find(worker.queues.begin(), worker.queues.end(), options.queue) != worker.queues.end();
    if (options.all || (!options.queue.empty() && offers)) add(worker);
  }
  return chosen;
}

/// A row for each worker; returns how many were sent home.
std::uint64_t report_stopped(Context& context, const std::vector<WorkerInfo>& workers,
                             const std::vector<protocol::ItemStatus>& statuses) {
  std::uint64_t stopped = 0;
  for (std::size_t i = 0; i < std::min(workers.size(), statuses.size()); ++i) {
    const WorkerInfo& worker = workers[i];
    const bool good = statuses[i] == protocol::ItemStatus::ok;
    if (good) ++stopped;
    if (!context.output().is_table())
      context.output().row(JsonObject()
                               .number("worker", worker.worker.value)
                               .text("name", worker.name)
                               .text("status", to_string(statuses[i]))
                               .take());
    if (!good)
      context.error(
          fmt::format("worker {} (`{}`) is gone already", worker.worker.value, worker.name));
  }
  return stopped;
}

}  // namespace

int run_worker_ls(Context& context) {
  const auto report = ask_report(context);
  if (!report) return context.give_up(report.error());
  if (context.output().is_table()) {
    print_workers(context, *report);
  } else {
    for (const WorkerInfo& worker : report->workers) context.output().row(to_json(worker));
  }
  context.output().finish();
  return kExitOk;
}

int run_worker_show(Context& context, const std::string& word) {
  const auto report = ask_report(context);
  if (!report) return context.give_up(report.error());
  const auto found = find_workers(*report, word);
  if (!found) return context.give_up(found.error());
  for (const WorkerInfo& worker : *found) {
    if (context.output().is_table())
      print_worker(context, *report, worker);
    else
      context.output().row(to_json(worker));
  }
  context.output().finish();
  return kExitOk;
}

int run_worker_stop(Context& context, const WorkerStopOptions& options) {
  if (options.workers.empty() && options.queue.empty() && !options.all)
    return context.give_up(
        {ErrorCode::usage, "say which workers: ids or names, --queue, or --all", {}});
  if (!options.queue.empty())
    if (Status good = check_queue(options.queue); !good) return context.give_up(good.error());
  auto report = ask_report(context);
  if (!report) return context.give_up(report.error());
  auto chosen = select_workers(*report, options);
  if (!chosen) return context.give_up(chosen.error());
  report->workers = std::move(*chosen);
  if (options.dry_run) {
    if (context.output().is_table()) print_workers(context, *report);
    for (const WorkerInfo& worker : report->workers)
      if (!context.output().is_table()) context.output().row(to_json(worker));
    context.output().finish();
    context.note(
        fmt::format("{} would be sent home", format_count(report->workers.size(), "worker")));
    return kExitOk;
  }
  std::uint64_t stopped = 0;
  if (!report->workers.empty()) {
    const auto client = context.connect();
    if (!client) return context.give_up(client.error());
    protocol::Dismiss request;
    for (const WorkerInfo& worker : report->workers) request.workers.push_back(worker.worker);
    const auto outcomes = (*client)->call<protocol::Outcomes>(request);
    if (!outcomes) return context.give_up(outcomes.error());
    stopped = report_stopped(context, report->workers, outcomes->statuses);
  }
  context.output().finish();
  context.note(fmt::format("{} sent home: what runs is finished, the rest given back",
                           format_count(stopped, "worker")));
  return stopped == report->workers.size() ? kExitOk : kExitSomeFailed;
}

}  // namespace millrace::producer

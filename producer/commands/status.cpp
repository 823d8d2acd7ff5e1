#include <fmt/format.h>

#include <algorithm>

#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"

namespace millrace::producer {
namespace {

/// `3d 4h`, `5m 12s`: two units are enough for an age.
std::string format_age(Duration age) {
  const std::int64_t seconds = std::max<std::int64_t>(age.count() / 1000, 0);
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m {}s", seconds / 60, seconds % 60);
  if (seconds < 86400) return fmt::format("{}h {}m", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{}d {}h", seconds / 86400, seconds / 3600 % 24);
}

}  // namespace

Result<protocol::Report> ask_report(Context& context) {
  const auto client = context.connect();
  if (!client) return tl::make_unexpected(client.error());
  return (*client)->call<protocol::Report>(protocol::Stats{});
}

void print_workers(Context& context, const protocol::Report& report) {
  Table table(
      {">WORKER", "NAME", "HOST", ">PID", "QUEUES", "SLOTS", ">LEASES", "UNTIL", ">UP", ">SEEN"});
  for (const protocol::WorkerInfo& worker : report.workers) {
    std::string slots;
    for (const auto& [pool, count] : worker.pools)
      slots += fmt::format("{}{} {}", slots.empty() ? "" : ", ", pool, count);
    table.add({fmt::format("{}", worker.worker.value), worker.name, worker.host,
               fmt::format("{}", worker.pid), fmt::format("{}", fmt::join(worker.queues, ",")),
               slots, format_count(worker.leases), std::string(to_string(worker.until)),
               format_age(report.now - worker.connected_at),
               format_age(report.now - worker.seen_at) + " ago"});
  }
  table.print(context.output());
}

int run_status(Context& context) {
  const auto report = ask_report(context);
  if (!report) return context.give_up(report.error());
  Output& output = context.output();
  if (!output.is_table()) {
    output.row(to_json(*report));
    output.finish();
    return kExitOk;
  }
  output.line(fmt::format("broker {} · up {} · epoch {} · {} in memory{}", report->broker,
                          format_age(report->now - report->started_at), report->epoch,
                          format_count(report->jobs_in_memory, "job"),
                          report->storage_full ? " · storage is full" : ""));
  output.line("");
  print_queues(context, report->queues);
  output.line("");
  print_workers(context, *report);
  output.finish();
  return kExitOk;
}

}  // namespace millrace::producer

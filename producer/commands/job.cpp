#include <fmt/format.h>

#include <algorithm>

#include "common/retry.h"
#include "common/util/parse.h"
#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"

namespace millrace::producer {

std::string time_or_dash(Time time) { return time == Time{} ? "-" : format_time(time); }

void print_jobs(Context& context, const std::vector<protocol::JobInfo>& jobs) {
  Output& output = context.output();
  if (!output.is_table()) {
    for (const protocol::JobInfo& job : jobs) output.row(to_json(job));
    return;
  }
  Table table(
      {">JOB", "STATE", "KIND", "QUEUE", ">ATTEMPTS", ">BATCH", "ENQUEUED", "FINISHED", "ERROR"});
  for (const protocol::JobInfo& job : jobs)
    table.add({fmt::format("{}", job.job.value), std::string(to_string(job.state)), job.kind,
               job.queue, fmt::format("{}/{}", job.attempts, job.max_attempts),
               fmt::format("{}", job.batch.value), time_or_dash(job.enqueued_at),
               time_or_dash(job.finished_at), job.error.substr(0, 60)});
  table.print(output);
}

namespace {

void print_job(Context& context, const protocol::Item& item) {
  const protocol::JobInfo& job = item.job.front();
  Output& output = context.output();
  const auto line = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) output.line(fmt::format("{:<13} {}", name, printable(value)));
  };
  line("job", fmt::format("{}", job.job.value));
  line("state", to_string(job.state));
  line("kind", job.kind);
  line("queue", job.queue);
  line("priority", fmt::format("{}", job.priority));
  line("batch", fmt::format("{}", job.batch.value));
  if (job.replay_of) line("replay of", fmt::format("{}", job.replay_of.value));
  line("attempts", fmt::format("{} of {}", job.attempts, job.max_attempts));
  line("deliveries", fmt::format("{}", job.deliveries));
  line("crashes", job.crashes_max == 0 ? fmt::format("{}", job.crashes)
                                       : fmt::format("{} of {}", job.crashes, job.crashes_max));
  line("retry", job.retry.empty() ? format_retry({}) : job.retry);
  if (job.timeout.count() > 0) line("timeout", format_duration(job.timeout));
  if (!job.unique_key.empty())
    line("unique key", fmt::format("{}{}", job.unique_key,
                                   job.unique_held ? "" : " (given back, or for a time)"));
  line("worker", job.worker);
  line("enqueued", time_or_dash(job.enqueued_at));
  if (job.run_at != Time{}) line("run at", time_or_dash(job.run_at));
  if (job.expires_at != Time{}) line("expires", time_or_dash(job.expires_at));
  if (job.started_at != Time{}) line("started", time_or_dash(job.started_at));
  if (job.finished_at != Time{}) line("finished", time_or_dash(job.finished_at));
  line("progress", progress_text(job.progress));
  line("payload", payload_text(job.payload));
  line("result", payload_text(job.result));
  line("error", job.error);
  for (const protocol::AttemptInfo& attempt : item.attempts)
    line(fmt::format("attempt {}", attempt.attempt),
         fmt::format("{}  {}  {}  {}", time_or_dash(attempt.finished_at), attempt.outcome,
                     attempt.worker, attempt.error));
}

std::string job_with_history(const protocol::Item& item) {
  std::string json = to_json(item.job.front());
  std::string history = ",\"history\":[";
  for (const protocol::AttemptInfo& attempt : item.attempts)
    history += (history.back() == '[' ? "" : ",") + to_json(attempt);
  json.insert(json.size() - 1, history + "]");
  return json;
}

}  // namespace

int run_job_ls(Context& context, const JobListOptions& options) {
  const auto filter = make_filter(options.select);
  if (!filter) return context.give_up(filter.error());
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  protocol::List request{.filter = *filter, .newest_first = true};
  request.payloads = !context.output().is_table();
  std::vector<protocol::JobInfo> jobs;
  do {
    request.limit = std::min<std::uint64_t>(options.limit - jobs.size(), kPageRowsMax);
    auto page = (*client)->call<protocol::Page>(request);
    if (!page) return context.give_up(page.error());
    std::move(page->jobs.begin(), page->jobs.end(), std::back_inserter(jobs));
    request.after = page->next;
  } while (request.after != 0 && jobs.size() < options.limit);
  print_jobs(context, jobs);
  context.output().finish();
  return kExitOk;
}

int run_job_show(Context& context, const std::string& text) {
  const auto id = parse_id("job", text);
  if (!id) return context.give_up(id.error());
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  const auto item = (*client)->call<protocol::Item>(protocol::Show{.job = JobId{*id}, .batch = {}});
  if (!item) return context.give_up(item.error());
  if (item->job.empty())
    return context.give_up({ErrorCode::not_found, fmt::format("there is no job {}", *id), {}});
  if (context.output().is_table())
    print_job(context, *item);
  else
    context.output().row(job_with_history(*item));
  context.output().finish();
  return kExitOk;
}

}  // namespace millrace::producer

#include <fmt/format.h>

#include <algorithm>

#include "common/util/parse.h"
#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"

namespace millrace::producer {
namespace {

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
  line("crashes", fmt::format("{}", job.crashes));
  if (job.timeout.count() > 0) line("timeout", format_duration(job.timeout));
  line("worker", job.worker);
  line("enqueued", time_or_dash(job.enqueued_at));
  if (job.run_at != Time{}) line("run at", time_or_dash(job.run_at));
  if (job.started_at != Time{}) line("started", time_or_dash(job.started_at));
  if (job.finished_at != Time{}) line("finished", time_or_dash(job.finished_at));
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

/// Carries out CANCEL or REDRIVE on what `select` names; the filter form also takes the states in
/// which the request has any use.
template <class Request>
class JobAction {
 public:
  JobAction(Context& context, std::string_view verb, std::vector<JobState> states)
      : context_(context), verb_(verb), states_(std::move(states)) {}

  int run(const JobActOptions& options) {
    if (!selects(options.select))
      return context_.give_up({ErrorCode::usage, "name job ids, or a filter such as --queue", {}});
    auto filter = make_filter(options.select);
    if (!filter) return context_.give_up(filter.error());
    const auto client = context_.connect();
    if (!client) return context_.give_up(client.error());
    SelectOptions rest = options.select;
    rest.ids.clear();
    // Ids alone are acted upon as they are, so that one that does not exist is reported.
    const bool by_ids = !filter->ids.empty() && !selects(rest) && !options.dry_run;
    if (filter->states.empty() && filter->ids.empty()) filter->states = states_;
    const Status done =
        by_ids ? act(**client, filter->ids)
               : for_each_page(**client, *filter,
                               [&](const std::vector<protocol::JobInfo>& jobs, bool) -> Status {
                                 if (options.dry_run) return print_jobs(context_, jobs), Status{};
                                 std::vector<JobId> ids;
                                 ids.reserve(jobs.size());
                                 for (const auto& job : jobs) ids.push_back(job.job);
                                 return act(**client, ids);
                               });
    if (!done) return context_.give_up(done.error());
    context_.output().finish();
    if (options.dry_run) return kExitOk;
    context_.note(fmt::format("{} {}", format_count(succeeded_, "job"), verb_));
    return by_ids && refused_ > 0 ? kExitSomeFailed : kExitOk;
  }

 private:
  Status act(Client& client, const std::vector<JobId>& ids) {
    for (std::size_t begin = 0; begin < ids.size(); begin += kFilterPageJobs) {
      const std::size_t end = std::min(begin + kFilterPageJobs, ids.size());
      Request request;
      request.jobs.assign(ids.begin() + static_cast<std::ptrdiff_t>(begin),
                          ids.begin() + static_cast<std::ptrdiff_t>(end));
      const auto outcomes = client.call<protocol::Outcomes>(request);
      if (!outcomes) return tl::make_unexpected(outcomes.error());
      for (std::size_t i = 0; i < std::min(outcomes->jobs.size(), outcomes->statuses.size()); ++i)
        report(outcomes->jobs[i], outcomes->statuses[i]);
    }
    return {};
  }

  void report(JobId job, protocol::ItemStatus status) {
    const bool good =
        status == protocol::ItemStatus::ok || status == protocol::ItemStatus::duplicate;
    ++(good ? succeeded_ : refused_);
    if (!context_.output().is_table())
      context_.output().row(
          JsonObject().number("job", job.value).text("status", to_string(status)).take());
    if (status == protocol::ItemStatus::not_found)
      context_.error(fmt::format("there is no job {}", job.value));
    else if (!good)
      context_.error(fmt::format("job {} is not {}: {}", job.value, verb_, to_string(status)));
  }

  Context& context_;
  std::string_view verb_;
  std::vector<JobState> states_;
  std::uint64_t succeeded_ = 0;
  std::uint64_t refused_ = 0;
};

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

int run_job_cancel(Context& context, const JobActOptions& options) {
  JobAction<protocol::Cancel> action(
      context, "cancelled",
      {JobState::blocked, JobState::scheduled, JobState::ready, JobState::leased});
  return action.run(options);
}

int run_job_redrive(Context& context, const JobActOptions& options) {
  JobAction<protocol::Redrive> action(context, "redriven", {JobState::dead});
  return action.run(options);
}

}  // namespace millrace::producer

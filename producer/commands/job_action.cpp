#include "producer/commands/job_action.h"

#include <fmt/format.h>

#include <algorithm>

#include "producer/commands/support.h"
#include "producer/json_text.h"

namespace millrace::producer {

std::string_view JobAction::done_word() const {
  return verb_ == JobVerb::cancel ? "cancelled" : "redriven";
}

std::vector<JobState> JobAction::default_states() const {
  if (verb_ == JobVerb::redrive) return {JobState::dead};
  return {JobState::blocked, JobState::scheduled, JobState::ready, JobState::leased};
}

int JobAction::run(const JobActOptions& options) {
  SelectOptions select = options.select;
  select.ids.insert(select.ids.end(), options.ids.begin(), options.ids.end());
  if (!selects(select))
    return context_.give_up({ErrorCode::usage, "name job ids, or a filter such as --queue", {}});
  auto filter = make_filter(select);
  if (!filter) return context_.give_up(filter.error());
  const auto client = context_.connect();
  if (!client) return context_.give_up(client.error());
  select.ids.clear();
  // Ids alone are acted upon as they are, so that one that does not exist is reported.
  const bool by_ids = !selects(select) && !options.dry_run;
  if (!by_ids && filter->states.empty()) filter->states = default_states();
  const Status done =
      by_ids ? act(**client, filter->ids) : run_filter(**client, *filter, options.dry_run);
  if (!done) return context_.give_up(done.error());
  context_.output().finish();
  context_.note(options.dry_run
                    ? fmt::format("{} would be {}", format_count(listed_, "job"), done_word())
                    : fmt::format("{} {}", format_count(succeeded_, "job"), done_word()));
  return by_ids && refused_ > 0 ? kExitSomeFailed : kExitOk;
}

Status JobAction::run_filter(Client& client, const protocol::JobFilter& filter, bool dry_run) {
  return for_each_page(client, filter,
                       [&](const std::vector<protocol::JobInfo>& jobs, bool) -> Status {
                         if (dry_run) {
                           listed_ += jobs.size();
                           return print_jobs(context_, jobs), context_.output().failure();
                         }
                         std::vector<JobId> ids;
                         ids.reserve(jobs.size());
                         for (const auto& job : jobs) ids.push_back(job.job);
                         return act(client, ids);
                       });
}

Status JobAction::act(Client& client, std::span<const JobId> ids) {
  while (!ids.empty()) {
    const auto page = ids.first(std::min(ids.size(), kFilterPageJobs));
    ids = ids.subspan(page.size());
    const std::vector<JobId> jobs(page.begin(), page.end());
    const auto outcomes = verb_ == JobVerb::cancel
                              ? client.call<protocol::Outcomes>(
                                    protocol::Cancel{.jobs = jobs, .leases = {}, .reason = {}})
                              : client.call<protocol::Outcomes>(protocol::Redrive{jobs});
    if (!outcomes) return tl::make_unexpected(outcomes.error());
    for (std::size_t i = 0; i < std::min(outcomes->jobs.size(), outcomes->statuses.size()); ++i)
      report(outcomes->jobs[i], outcomes->statuses[i]);
  }
  return {};
}

void JobAction::report(JobId job, protocol::ItemStatus status) {
  const bool good = status == protocol::ItemStatus::ok || status == protocol::ItemStatus::duplicate;
  ++(good ? succeeded_ : refused_);
  if (rows_ && !context_.output().is_table())
    context_.output().row(
        JsonObject().number("job", job.value).text("status", to_string(status)).take());
  if (!rows_ || good) return;
  if (status == protocol::ItemStatus::not_found)
    context_.error(fmt::format("there is no job {}", job.value));
  else
    context_.error(fmt::format("job {} is not {}: {}", job.value, done_word(), to_string(status)));
}

int run_job_cancel(Context& context, const JobActOptions& options) {
  return JobAction(context, JobVerb::cancel).run(options);
}

int run_job_redrive(Context& context, const JobActOptions& options) {
  return JobAction(context, JobVerb::redrive).run(options);
}

int run_queue_purge(Context& context, const PurgeOptions& options) {
  if (Status good = check_queue(options.queue); !good) return context.give_up(good.error());
  SelectOptions select;
  select.queue = options.queue;
  select.kind = options.kind;
  select.states = options.states;
  auto filter = make_filter(select);
  if (!filter) return context.give_up(filter.error());
  for (const JobState state : filter->states)
    if (is_final(state) || state == JobState::leased)
      return context.give_up({ErrorCode::usage,
                              fmt::format("only jobs that wait are purged, and a {} job does not: "
                                          "use blocked, scheduled or ready",
                                          to_string(state)),
                              {}});
  if (filter->states.empty())
    filter->states = {JobState::blocked, JobState::scheduled, JobState::ready};
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  JobAction action(context, JobVerb::cancel);
  action.print_rows(false);
  if (const Status done = action.run_filter(**client, *filter, options.dry_run); !done)
    return context.give_up(done.error());
  if (!context.output().is_table() && !options.dry_run)
    context.output().row(
        JsonObject().text("queue", options.queue).number("cancelled", action.succeeded()).take());
  context.output().finish();
  const std::uint64_t count = options.dry_run ? action.listed() : action.succeeded();
  context.note(fmt::format("{} of queue `{}` {}", format_count(count, "waiting job"), options.queue,
                           options.dry_run ? "would be cancelled" : "cancelled"));
  return kExitOk;
}

}  // namespace millrace::producer

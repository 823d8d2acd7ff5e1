#include <fmt/format.h>

#include "producer/commands/commands.h"
#include "producer/commands/replay_verify.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"
#include "producer/replay_run.h"

namespace millrace::producer {
namespace {

Result<protocol::JobFilter> make_ended_filter(const SelectOptions& options) {
  if (!selects(options))
    return fail(ErrorCode::usage,
                "say which jobs: at least one of --id --batch --state --kind --queue --unique-key "
                "--since --until");
  auto filter = make_filter(options);
  if (!filter) return filter;
  for (const JobState state : filter->states)
    if (!is_final(state))
      return fail(ErrorCode::usage,
                  fmt::format("only ended jobs are replayed, and a {} job has not ended: use done, "
                              "dead, cancelled or expired",
                              to_string(state)));
  filter->ended = true;
  return filter;
}

void print_dry(Context& context, const std::vector<protocol::JobInfo>& jobs) {
  for (const protocol::JobInfo& job : jobs) {
    if (context.output().is_table())
      context.output().line(fmt::format("{:>8}  {:<9}  {}  {}  {}", job.job.value,
                                        to_string(job.state), job.kind, job.queue,
                                        printable(job.error.substr(0, 80))));
    else
      context.output().row(to_json(job));
  }
}

void print_replayed(Context& context, const protocol::Enqueued& reply) {
  if (reply.count == 0) return;
  if (!context.output().is_table()) {
    context.output().row(JsonObject()
                             .number("batch", reply.batch.value)
                             .raw("ids", json_id_range(reply.first, reply.count))
                             .raw("replay_of", json_ids(reply.replay_of))
                             .take());
    return;
  }
  for (std::size_t i = 0; i < reply.replay_of.size(); ++i)
    context.output().line(
        fmt::format("job {} replays {}", reply.first.value + i, reply.replay_of[i].value));
}

std::vector<JobId> ids_of(const std::vector<protocol::JobInfo>& jobs) {
  std::vector<JobId> ids;
  ids.reserve(jobs.size());
  for (const protocol::JobInfo& job : jobs) ids.push_back(job.job);
  return ids;
}

int watch_replayed(Context& context, Client& client, BatchId batch) {
  ResultPrinter printer(context);
  BatchRun run(client, {});
  printer.follow(&run);
  if (const Status done = run.watch(batch, {}, printer); !done) {
    const int code = context.give_up(done.error());
    context.error("resume with: " + context.resume_command(batch, run.cursor()));
    return code;
  }
  context.progress().clear();
  context.output().finish();
  printer.sum_up();
  return printer.code();
}

}  // namespace

int run_replay(Context& context, const ReplayOptions& options) {
  const auto filter = make_ended_filter(options.select);
  if (!filter) return context.give_up(filter.error());
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  const bool quiet = options.wait || options.verify;
  ReplayRun replayer(**client, options.force);
  std::uint64_t matched = 0;
  const Status done = for_each_page(
      **client, *filter, [&](const std::vector<protocol::JobInfo>& jobs, bool last) -> Status {
        matched += jobs.size();
        if (options.dry_run) return print_dry(context, jobs), Status{};
        const auto reply = replayer.replay(ids_of(jobs), last);
        if (!reply) return tl::make_unexpected(reply.error());
        if (!quiet) print_replayed(context, *reply);
        return context.output().failure();
      });
  if (!done) {
    const int code = context.give_up(done.error());
    if (replayer.batch())
      context.error(fmt::format("{} replayed as batch {}", format_count(replayer.count(), "job"),
                                replayer.batch().value));
    return code;
  }
  if (options.dry_run || !replayer.batch()) {
    context.output().finish();
    context.note(matched == 0 ? "no ended job matches; nothing to replay"
                              : fmt::format("{} would be replayed", format_count(matched, "job")));
    return kExitOk;
  }
  if (options.verify) return verify_replayed(context, **client, replayer.batch(), replayer.count());
  if (options.wait) return watch_replayed(context, **client, replayer.batch());
  context.output().finish();
  context.note(fmt::format("{} replayed as batch {}; watch with: {}",
                           format_count(replayer.count(), "job"), replayer.batch().value,
                           context.resume_command(replayer.batch(), {})));
  return kExitOk;
}

}  // namespace millrace::producer

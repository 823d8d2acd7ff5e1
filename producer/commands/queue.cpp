#include <fmt/format.h>

#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"
#include "producer/queue_close.h"

namespace millrace::producer {
namespace {

/// Connects and carries out a request that is answered with a queue's state.
template <class Request>
Result<protocol::QueueInfo> ask(Context& context, const Request& request) {
  if (Status good = check_queue(request.queue); !good) return tl::make_unexpected(good.error());
  const auto client = context.connect();
  if (!client) return tl::make_unexpected(client.error());
  return (*client)->template call<protocol::QueueInfo>(request);
}

/// Prints what the queue is now: the row on stdout for programs, a sentence for people.
void report(Context& context, const protocol::QueueInfo& queue, const std::string& sentence) {
  if (!context.output().is_table()) context.output().row(to_json(queue));
  context.output().finish();
  context.note(sentence);
}

std::string describe_closed(const protocol::QueueInfo& queue) {
  if (queue.state == protocol::QueueState::drained)
    return fmt::format("queue `{}` is drained (generation {})", queue.queue, queue.generation);
  return fmt::format("queue `{0}` is closed (generation {1}): {2} open{3}", queue.queue,
                     queue.generation, format_count(queue.open_jobs(), "job"),
                     queue.paused ? fmt::format("; it is paused and does not drain until "
                                                "`millrace-producer queue resume {}`",
                                                queue.queue)
                                  : "");
}

}  // namespace

void print_queues(Context& context, const std::vector<protocol::QueueInfo>& queues) {
  Output& output = context.output();
  if (!output.is_table()) {
    for (const protocol::QueueInfo& queue : queues) output.row(to_json(queue));
    return;
  }
  Table table({"QUEUE", "STATE", ">GENERATION", ">SCHEDULED", ">READY", ">LEASED", ">DONE", ">DEAD",
               ">CANCELLED", ">WORKERS"});
  for (const protocol::QueueInfo& queue : queues) {
    const auto count = [&](JobState state) {
      return format_count(queue.counts[static_cast<std::size_t>(state)]);
    };
    table.add({queue.queue,
               fmt::format("{}{}", to_string(queue.state), queue.paused ? ", paused" : ""),
               fmt::format("{}", queue.generation), count(JobState::scheduled),
               count(JobState::ready), count(JobState::leased), count(JobState::done),
               count(JobState::dead), count(JobState::cancelled), format_count(queue.workers)});
  }
  table.print(output);
}

int run_close(Context& context, const QueueOptions& options) {
  auto queue = ask(context, protocol::Close{.queue = options.queue, .wait = options.wait});
  if (!queue) return context.give_up(queue.error());
  if (!options.wait || queue->state == protocol::QueueState::drained) {
    report(context, *queue, describe_closed(*queue));
    return kExitOk;
  }
  context.note(describe_closed(*queue));
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  if (Status good = wait_drained(**client, options.queue, queue->generation); !good) {
    const int code = context.give_up(good.error());
    if (good.error().code != ErrorCode::queue_open)
      context.error(
          fmt::format("queue `{0}` stays closed; wait again with: millrace-producer close "
                      "{0} --wait",
                      options.queue));
    return code;
  }
  const auto after = (*client)->call<protocol::Report>(protocol::Stats{options.queue});
  if (after && after->queues.size() == 1) *queue = after->queues.front();
  report(context, *queue,
         fmt::format("queue `{}` is drained (generation {})", options.queue, queue->generation));
  return kExitOk;
}

int run_open(Context& context, const QueueOptions& options) {
  const auto queue = ask(context, protocol::Open{options.queue});
  if (!queue) return context.give_up(queue.error());
  report(context, *queue,
         fmt::format("queue `{}` is open (generation {})", queue->queue, queue->generation));
  return kExitOk;
}

int run_queue_pause(Context& context, const QueueOptions& options) {
  const auto queue = ask(context, protocol::Pause{options.queue});
  if (!queue) return context.give_up(queue.error());
  report(context, *queue,
         fmt::format("queue `{}` is paused: {} wait, {} run on", queue->queue,
                     format_count(queue->open_jobs() - queue->counts[3], "job"),
                     format_count(queue->counts[3])));
  return kExitOk;
}

int run_queue_resume(Context& context, const QueueOptions& options) {
  const auto queue = ask(context, protocol::Unpause{options.queue});
  if (!queue) return context.give_up(queue.error());
  report(context, *queue,
         fmt::format("queue `{}` goes on: {} open", queue->queue,
                     format_count(queue->open_jobs(), "job")));
  return kExitOk;
}

int run_queue_ls(Context& context) {
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  const auto stats = (*client)->call<protocol::Report>(protocol::Stats{});
  if (!stats) return context.give_up(stats.error());
  print_queues(context, stats->queues);
  context.output().finish();
  return kExitOk;
}

int run_queue_show(Context& context, const QueueOptions& options) {
  if (Status good = check_queue(options.queue); !good) return context.give_up(good.error());
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  const auto stats = (*client)->call<protocol::Report>(protocol::Stats{options.queue});
  if (!stats) return context.give_up(stats.error());
  if (stats->queues.empty())
    return context.give_up(
        {ErrorCode::not_found, fmt::format("there is no queue `{}`", options.queue), {}});
  print_queues(context, stats->queues);
  context.output().finish();
  return kExitOk;
}

}  // namespace millrace::producer

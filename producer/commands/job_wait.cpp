#include "common/util/clock.h"
#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/job_awaits.h"

namespace millrace::producer {
namespace {

constexpr Duration kTurn{200};

/// Prints each job's end as it comes. Errors: as Client.
Status await_all(Client& client, JobAwaits& awaits, ResultPrinter& printer) {
  while (awaits.open() > 0) {
    awaits.send_due(client, read_clocks().mono);
    auto turn = client.wait(kTurn);
    if (!turn) return tl::make_unexpected(turn.error());
    for (net::Event& event : *turn) {
      auto* reply = std::get_if<net::Replied>(&event);
      if (reply == nullptr) continue;
      const auto answer = awaits.take(*reply, read_clocks().mono);
      if (!answer) continue;
      if (answer->row)
        printer.result(*answer->row);
      else
        printer.missing(answer->job, answer->row.error());
    }
    if (Status good = printer.turned(); !good) return good;
  }
  return {};
}

}  // namespace

int run_job_wait(Context& context, const std::vector<std::string>& texts) {
  const auto ids = parse_job_ids(texts);
  if (!ids) return context.give_up(ids.error());
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  JobAwaits awaits;
  for (const JobId id : *ids) awaits.add(id);
  ResultPrinter printer(context);
  if (const Status done = await_all(**client, awaits, printer); !done)
    return context.give_up(done.error());
  context.output().finish();
  printer.sum_up();
  return printer.code();
}

}  // namespace millrace::producer

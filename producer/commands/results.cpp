#include "producer/commands/commands.h"
#include "producer/commands/support.h"

namespace millrace::producer {

int run_results(Context& context, const ResultsOptions& options) {
  const auto id = parse_id("batch", options.batch);
  if (!id) return context.give_up(id.error());
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  // A batch that does not exist would never end.
  const auto known =
      (*client)->call<protocol::Item>(protocol::Show{.job = {}, .batch = BatchId{*id}});
  if (!known) return context.give_up(known.error());

  ResultPrinter printer(context);
  BatchRun run(**client, {});
  printer.follow(&run);
  const Status done = run.watch(BatchId{*id}, FinishSeq{options.from}, printer);
  if (!done) {
    const int code = context.give_up(done.error());
    context.error("resume with: " + context.resume_command(run.batch(), run.cursor()));
    return code;
  }
  context.progress().clear();
  context.output().finish();
  printer.sum_up();
  return printer.code();
}

}  // namespace millrace::producer

#include <fmt/format.h>

#include <algorithm>

#include "common/util/parse.h"
#include "producer/commands/commands.h"
#include "producer/commands/job_action.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"

namespace millrace::producer {
namespace {

void print_batches(Context& context, const std::vector<protocol::BatchInfo>& batches) {
  Output& output = context.output();
  if (!output.is_table()) {
    for (const protocol::BatchInfo& batch : batches) output.row(to_json(batch));
    output.finish();
    return;
  }
  Table table({">BATCH", "SEALED", ">TOTAL", ">OPEN", ">DONE", ">DEAD", ">CANCELLED", "CREATED"});
  for (const protocol::BatchInfo& batch : batches)
    table.add({fmt::format("{}", batch.batch.value), batch.sealed ? "yes" : "no",
               format_count(batch.total), format_count(batch.open), format_count(batch.done),
               format_count(batch.dead), format_count(batch.cancelled),
               format_time(batch.created_at)});
  table.print(output);
  output.finish();
}

Result<protocol::BatchInfo> ask_batch(Context& context, const std::string& text) {
  const auto id = parse_id("batch", text);
  if (!id) return tl::make_unexpected(id.error());
  const auto client = context.connect();
  if (!client) return tl::make_unexpected(client.error());
  auto item = (*client)->call<protocol::Item>(protocol::Show{.job = {}, .batch = BatchId{*id}});
  if (!item) return tl::make_unexpected(item.error());
  if (item->batch.empty())
    return fail(ErrorCode::not_found, fmt::format("there is no batch {}", *id));
  return std::move(item->batch.front());
}

/// One that does not exist is an error, one without such jobs is not.
int act(Context& context, JobVerb verb, const BatchActOptions& options) {
  const auto batch = ask_batch(context, options.id);
  if (!batch) return context.give_up(batch.error());
  SelectOptions select;
  select.batch = batch->batch.value;
  return JobAction(context, verb).run({.ids = {}, .select = select, .dry_run = options.dry_run});
}

}  // namespace

int run_batch_show(Context& context, const std::string& text) {
  const auto batch = ask_batch(context, text);
  if (!batch) return context.give_up(batch.error());
  print_batches(context, {*batch});
  return kExitOk;
}

int run_batch_cancel(Context& context, const BatchActOptions& options) {
  return act(context, JobVerb::cancel, options);
}

int run_batch_redrive(Context& context, const BatchActOptions& options) {
  return act(context, JobVerb::redrive, options);
}

int run_batch_ls(Context& context, std::uint64_t limit) {
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  const auto page = (*client)->call<protocol::Page>(
      protocol::List{.what = protocol::ListWhat::batches,
                     .filter = {},
                     .limit = std::min<std::uint64_t>(limit, kPageRowsMax),
                     .newest_first = true});
  if (!page) return context.give_up(page.error());
  print_batches(context, page->batches);
  return kExitOk;
}

}  // namespace millrace::producer

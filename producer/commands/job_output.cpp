#include <fmt/format.h>

#include <algorithm>

#include "common/util/parse.h"
#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"
#include "producer/output_stream.h"

namespace millrace::producer {
namespace {

Result<std::vector<OutputType>> parse_types(const std::vector<std::string>& words) {
  std::vector<OutputType> types;
  for (const std::string& word : words)
    if (!parse(word, types.emplace_back()))
      return fail(ErrorCode::usage,
                  fmt::format("--type: `{}` is none of log, progress, chunk", word));
  return types;
}

void print_output(Context& context, JobId job, const protocol::OutputRow& row, bool lines_only) {
  Output& output = context.output();
  if (!output.is_table()) return output.row(to_json(job, row));
  const std::string text =
      row.type == OutputType::progress ? progress_text(row.data) : payload_text(row.data);
  if (lines_only) return output.line(printable(text));
  output.line(fmt::format("{:>8}  {}  {:<8}  {}", row.cursor.value, format_time(row.at),
                          to_string(row.type), printable(text)));
}

int run(Context& context, const JobOutputOptions& options, std::string_view command) {
  const auto id = parse_id("job", options.id);
  if (!id) return context.give_up(id.error());
  const auto types = parse_types(options.types);
  if (!types) return context.give_up(types.error());
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  const bool lines_only = command == "logs";
  OutputSeq cursor{options.from};
  const auto done = stream_output(
      **client, JobId{*id}, cursor, options.follow,
      [&](const protocol::OutputRow& row) -> Status {
        if (types->empty() || std::find(types->begin(), types->end(), row.type) != types->end()) {
          print_output(context, JobId{*id}, row, lines_only);
          // Whoever follows wants to see it now.
          if (options.follow) context.output().flush();
        }
        return context.output().failure();
      },
      &cursor);
  context.output().finish();
  if (done) return kExitOk;
  const int code = context.give_up(done.error());
  if (cursor.value > 0)
    context.error(fmt::format(
        "resume with: {}",
        context.command_line(fmt::format("job {} {} --from {}{}", command, *id, cursor.value,
                                         options.follow ? " --follow" : ""))));
  return code;
}

}  // namespace

int run_job_output(Context& context, const JobOutputOptions& options) {
  return run(context, options, "output");
}

int run_job_logs(Context& context, const JobOutputOptions& options) {
  JobOutputOptions logs = options;
  logs.types = {std::string(to_string(OutputType::log))};
  return run(context, logs, "logs");
}

}  // namespace millrace::producer

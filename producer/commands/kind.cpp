#include <fmt/format.h>

#include "common/util/parse.h"
#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"

namespace millrace::producer {
namespace {

void print_kinds(Context& context, const std::vector<protocol::KindInfo>& kinds) {
  if (!context.output().is_table()) {
    for (const protocol::KindInfo& kind : kinds) context.output().row(to_json(kind));
    return;
  }
  Table table({"KIND", ">MAX ATTEMPTS", ">CRASHES MAX", ">TIMEOUT", "RETRY", "REPLAY", "SAID BY"});
  const auto count = [](int number) { return number == 0 ? "-" : fmt::format("{}", number); };
  for (const protocol::KindInfo& kind : kinds) {
    const protocol::KindOptions& options = kind.options;
    table.add({kind.kind, count(options.max_attempts), count(options.crashes_max),
               options.timeout == Duration{} ? "-" : format_duration(options.timeout),
               options.retry.empty() ? "-" : options.retry,
               options.not_replayable ? "needs --force" : "yes",
               kind.by_operator ? "operator" : "worker"});
  }
  table.print(context.output());
}

int send(Context& context, const protocol::KindSet& request, std::string_view sentence) {
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  const auto info = (*client)->call<protocol::KindInfo>(request);
  if (!info) return context.give_up(info.error());
  if (!context.output().is_table()) context.output().row(to_json(*info));
  context.output().finish();
  context.note(fmt::format("kind `{}` {}", request.kind, sentence));
  return kExitOk;
}

/// What the options name is changed in `kind`.
Status change(const KindSetOptions& options, protocol::KindOptions& kind) {
  const auto max_attempts = check_count("--max-attempts", options.max_attempts);
  if (!max_attempts) return tl::make_unexpected(max_attempts.error());
  const auto crashes_max = check_count("--crashes-max", options.crashes_max);
  if (!crashes_max) return tl::make_unexpected(crashes_max.error());
  if (Status good = check_retry(options.retry); !good) return good;
  if (options.replayable && options.not_replayable)
    return fail(ErrorCode::usage, "--replayable and --not-replayable exclude each other");
  if (*max_attempts != 0) kind.max_attempts = *max_attempts;
  if (*crashes_max != 0) kind.crashes_max = *crashes_max;
  if (options.timeout != Duration{}) kind.timeout = options.timeout;
  if (!options.retry.empty()) kind.retry = options.retry;
  if (options.replayable) kind.not_replayable = false;
  if (options.not_replayable) kind.not_replayable = true;
  return {};
}

bool says_something(const KindSetOptions& options) {
  return options.max_attempts || options.crashes_max || options.timeout != Duration{} ||
         !options.retry.empty() || options.replayable || options.not_replayable;
}

}  // namespace

int run_kind_ls(Context& context) {
  const auto report = ask_report(context);
  if (!report) return context.give_up(report.error());
  print_kinds(context, report->kinds);
  context.output().finish();
  return kExitOk;
}

int run_kind_set(Context& context, const KindSetOptions& options) {
  if (Status good = check_kind(options.kind); !good) return context.give_up(good.error());
  protocol::KindOptions checked;
  if (Status good = change(options, checked); !good) return context.give_up(good.error());
  if (!says_something(options))
    return context.give_up({ErrorCode::usage,
                            "say what holds: --max-attempts --crashes-max --timeout --retry "
                            "--replayable --not-replayable",
                            {}});
  const auto report = ask_report(context);
  if (!report) return context.give_up(report.error());
  protocol::KindSet request{.kind = options.kind, .options = {}};
  for (const protocol::KindInfo& kind : report->kinds)
    if (kind.kind == options.kind) request.options = kind.options;
  if (Status good = change(options, request.options); !good) return context.give_up(good.error());
  return send(context, request, "is set, for jobs that are enqueued from now on");
}

int run_kind_reset(Context& context, const std::string& kind) {
  if (Status good = check_kind(kind); !good) return context.give_up(good.error());
  return send(context, {.kind = kind, .options = {}, .reset = true},
              "is reset: what workers say of it counts, from their next connection on");
}

}  // namespace millrace::producer

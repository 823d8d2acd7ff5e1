#include <fmt/format.h>

#include "common/util/clock.h"
#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"
#include "producer/line_reader.h"
#include "producer/reorder.h"

namespace millrace::producer {
namespace {

/// A line of stdin may be as long as the broker's payloads; this is only where memory ends.
constexpr std::size_t kLineBytesMax = kFrameBytesMax;

Status check_options(const EnqueueOptions& options) {
  if (Status good = check_kind(options.kind); !good) return good;
  return check_queue(options.queue);
}

Status check_payload(std::string_view text, std::size_t bytes_max) {
  if (text.size() > bytes_max)
    return fail(ErrorCode::bad_data, fmt::format("a payload of {} bytes is over the limit of {}",
                                                 text.size(), bytes_max));
  if (!is_json(text)) return fail(ErrorCode::bad_data, "this is no JSON value");
  return {};
}

class OneJob : public JobSource {
 public:
  OneJob(protocol::NewJob job, std::string payload) : job_(std::move(job)) {
    job_.payload = Payload::text(std::move(payload));
  }
  Next next(protocol::NewJob& job) override {
    if (std::exchange(given_, true)) return Next::end;
    job = job_;
    return Next::job;
  }

 private:
  protocol::NewJob job_;
  bool given_ = false;
};

/// A job for each line of stdin. A line that is no payload is reported and left out.
class JobLines : public JobSource {
 public:
  JobLines(Context& context, protocol::NewJob job, std::size_t payload_bytes_max)
      : context_(context), job_(std::move(job)), payload_bytes_max_(payload_bytes_max) {}

  Status open() { return lines_.open("-"); }
  int fd() const override { return lines_.fd(); }
  [[nodiscard]] std::uint64_t bad() const { return bad_; }
  [[nodiscard]] const Status& failure() const { return lines_.failure(); }

  Next next(protocol::NewJob& job) override {
    while (true) {
      switch (lines_.next()) {
        case LineReader::Got::end:
          return Next::end;
        case LineReader::Got::idle:
          return Next::idle;
        case LineReader::Got::too_long:
          report("the line is too long");
          continue;
        case LineReader::Got::line:
          break;
      }
      if (lines_.line().find_first_not_of(" \t") == std::string_view::npos) continue;
      if (const Status good = check_payload(lines_.line(), payload_bytes_max_); !good) {
        report(good.error().message);
        continue;
      }
      job = job_;
      job.payload = Payload::text(std::string(lines_.line()));
      return Next::job;
    }
  }

 private:
  void report(std::string_view what) {
    ++bad_;
    context_.error(fmt::format("{}:{}: {}", lines_.name(), lines_.number(), what));
  }

  Context& context_;
  protocol::NewJob job_;
  std::size_t payload_bytes_max_;
  LineReader lines_{kLineBytesMax};
  std::uint64_t bad_ = 0;
};

/// Prints a row for each acknowledged request, in the order of the input; with --wait the results.
class EnqueueEvents : public ResultPrinter {
 public:
  EnqueueEvents(Context& context, bool wait) : ResultPrinter(context), wait_(wait) {}

  void acknowledged(const Acknowledged& request) override {
    if (wait_) return;
    for (const Acknowledged& next : order_.put(request.sequence, request)) print(next);
  }

 private:
  void print(const Acknowledged& request) {
    Output& output = context_.output();
    if (output.is_table()) return print_table(request);
    output.row(JsonObject()
                   .number("batch", request.batch.value)
                   .raw("ids", request.ids.empty() ? json_id_range(request.first, request.count)
                                                   : json_ids(request.ids))
                   .take());
  }

  /// New jobs that follow each other share a line.
  void print_table(const Acknowledged& request) {
    Output& output = context_.output();
    JobId first;
    std::uint64_t count = 0;
    const auto print_new = [&] {
      if (count == 1)
        output.line(fmt::format("job {} (batch {})", first.value, request.batch.value));
      else if (count > 1)
        output.line(fmt::format("jobs {} to {} (batch {})", first.value, first.value + count - 1,
                                request.batch.value));
      count = 0;
    };
    request.for_each([&](JobId job, bool existing) {
      if (existing) {
        print_new();
        output.line(fmt::format("job {} holds the key already", job.value));
      } else if (count++ == 0) {
        first = job;
      }
    });
    print_new();
  }

  bool wait_;
  ReorderBuffer<Acknowledged> order_;
};

int enqueue_all(Context& context, Client& client, JobSource& source,
                const EnqueueOptions& options) {
  const Instant started_at = read_clocks().mono;
  EnqueueEvents events(context, options.wait);
  BatchRun run(client, {.queue = options.queue, .watch = options.wait});
  events.follow(&run);
  const Status done = run.run(source, events);
  if (!done) return context.give_up(done.error(), run, events, run.taken(), "job");
  context.progress().clear();
  context.output().finish();
  if (options.wait) {
    events.sum_up();
    return events.code();
  }
  const Duration elapsed = read_clocks().mono - started_at;
  const std::string before =
      run.existing() == 0 ? "" : fmt::format(" · {} there before", format_count(run.existing()));
  if (run.enqueued() + run.existing() > 1)
    context.note(fmt::format("{} enqueued{} · {} · {}", format_count(run.enqueued(), "job"), before,
                             format_elapsed(elapsed), format_rate(run.enqueued(), elapsed)));
  return kExitOk;
}

}  // namespace

int run_enqueue(Context& context, const EnqueueOptions& options) {
  if (const Status good = check_options(options); !good) return context.give_up(good.error());
  const auto job = make_job(options.kind, options.job);
  if (!job) return context.give_up(job.error());
  const bool from_stdin = options.payload == "-";
  // JSON text by convention: a handler that expects nothing gets `null`.
  const std::string payload = options.payload.value_or("null");
  if (!from_stdin && !is_json(payload))
    return context.give_up(
        {ErrorCode::bad_data, fmt::format("the payload is no JSON value: {}", payload), {}});
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  const std::size_t bytes_max = (*client)->welcome().payload_bytes_max;
  if (!from_stdin) {
    if (const Status good = check_payload(payload, bytes_max); !good)
      return context.give_up(good.error());
    OneJob one(*job, payload);
    return enqueue_all(context, **client, one, options);
  }
  JobLines lines(context, *job, bytes_max);
  if (const Status good = lines.open(); !good) return context.give_up(good.error());
  const int code = enqueue_all(context, **client, lines, options);
  if (!lines.failure()) return context.give_up(lines.failure().error());
  if (lines.bad() == 0 || code > kExitSomeFailed) return code;
  context.error(fmt::format("{} left out", format_count(lines.bad(), "bad line")));
  return exit_code(ErrorCode::bad_data);
}

}  // namespace millrace::producer

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/util/clock.h"
#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"
#include "producer/line_reader.h"
#include "producer/replay_run.h"
#include "producer/url_list.h"

namespace millrace::producer {
namespace {

constexpr std::size_t kLineBytesMax = 64 * kKiB;
constexpr Duration kTimeoutDefault{10'000};
constexpr std::int64_t kRedirectsDefault = 5;
constexpr std::int64_t kRedirectsMax = 100;

Status check_options(const UrlsOptions& options) {
  if (Status good = check_queue(options.queue); !good) return good;
  if (const auto good = check_count("--max-attempts", options.max_attempts); !good)
    return tl::make_unexpected(good.error());
  if (Status good = check_retry(options.retry); !good) return good;
  if (Status good = check_range("--redirects", options.redirects, 0, kRedirectsMax); !good)
    return good;
  if (options.timeout <= Duration{})
    return fail(ErrorCode::usage, "--timeout must be longer than 0");
  const bool upper = std::all_of(options.method.begin(), options.method.end(),
                                 [](char c) { return c >= 'A' && c <= 'Z'; });
  if (options.method.empty() || !upper)
    return fail(ErrorCode::usage,
                fmt::format("`{}` is no method: write GET or HEAD", options.method));
  return {};
}

std::string make_payload(std::string_view url, const UrlsOptions& options) {
  JsonObject payload;
  payload.text("url", url);
  if (options.timeout != kTimeoutDefault) payload.number("timeout_ms", options.timeout.count());
  if (options.method != "GET") payload.text("method", options.method);
  if (options.redirects != kRedirectsDefault) payload.number("redirects", options.redirects);
  return payload.take();
}

/// A url.check job for each good line of the list; the others are reported and counted.
class UrlLines : public JobSource {
 public:
  UrlLines(Context& context, const UrlsOptions& options, UrlBook& book)
      : context_(context), options_(options), book_(book) {}

  Status open() { return lines_.open(options_.file); }
  int fd() const override { return lines_.fd(); }
  [[nodiscard]] const std::string& name() const { return lines_.name(); }
  [[nodiscard]] std::uint64_t bad() const { return bad_; }
  [[nodiscard]] const Status& failure() const { return lines_.failure(); }

  /// Reads the whole list into the book before anything is enqueued (--strict). May wait for a
  /// pipe. Errors: stopping.
  Status load() {
    std::string_view url;
    while (true) {
      const LineReader::Got got = next_url(url);
      if (got == LineReader::Got::end) break;
      if (got == LineReader::Got::line) {
        book_.add(url);
      } else if (!wait_for_input(lines_.fd(), context_.stop_fd())) {
        return fail(ErrorCode::stopping, "interrupted");
      }
    }
    loaded_ = true;
    return {};
  }

  Next next(protocol::NewJob& job) override {
    std::string_view url;
    if (loaded_) {
      if (given_ == book_.size()) return Next::end;
      url = book_.at(given_);
    } else {
      const LineReader::Got got = next_url(url);
      if (got == LineReader::Got::end) return Next::end;
      if (got == LineReader::Got::idle) return Next::idle;
      book_.add(url);
    }
    ++given_;
    job.kind = "url.check";
    job.max_attempts = static_cast<int>(options_.max_attempts.value_or(0));
    job.retry = options_.retry;
    job.payload = Payload::text(make_payload(url, options_));
    return Next::job;
  }

  /// How many URLs follow that were not taken, as far as that can be known without waiting.
  std::uint64_t count_rest() {
    std::uint64_t count = book_.size() - given_;
    for (std::string_view url; next_url(url) == LineReader::Got::line;) ++count;
    return count;
  }

 private:
  /// Goes on to the next good line.
  LineReader::Got next_url(std::string_view& url) {
    while (true) {
      const LineReader::Got got = lines_.next();
      if (got == LineReader::Got::too_long) {
        report(fmt::format("the line is longer than {} bytes", kLineBytesMax));
        continue;
      }
      if (got != LineReader::Got::line) return got;
      switch (read_url_line(lines_.line(), url)) {
        case UrlLine::url:
          return got;
        case UrlLine::skip:
          continue;
        case UrlLine::bad:
          report(url);
      }
    }
  }

  void report(std::string_view what) {
    ++bad_;
    context_.error(fmt::format("{}:{}: {}: {}", lines_.name(), lines_.number(), what,
                               lines_.line().substr(0, 100)));
  }

  Context& context_;
  const UrlsOptions& options_;
  UrlBook& book_;
  LineReader lines_{kLineBytesMax};
  std::uint64_t bad_ = 0;
  std::uint64_t given_ = 0;
  bool loaded_ = false;
};

struct UrlRow {
  std::optional<std::int64_t> status;
  std::int64_t elapsed_ms = 0;
  std::string error;
};

UrlRow read_row(const protocol::ResultRow& row) {
  UrlRow out{.status = {}, .elapsed_ms = row.elapsed.count(), .error = {}};
  if (row.state != JobState::done) {
    out.error = row.error.empty() ? to_string(row.state) : error_word(row.error);
    return out;
  }
  const auto result = nlohmann::json::parse(row.result.bytes, nullptr, false);
  if (!result.is_object()) {
    out.error = "other";
    return out;
  }
  if (const auto it = result.find("status"); it != result.end() && it->is_number_integer())
    out.status = it->get<std::int64_t>();
  if (const auto it = result.find("elapsed_ms"); it != result.end() && it->is_number_integer())
    out.elapsed_ms = it->get<std::int64_t>();
  if (const auto it = result.find("error"); it != result.end() && it->is_string())
    out.error = it->get<std::string>();
  return out;
}

/// Prints the status of each URL as it arrives.
class UrlEvents : public BatchEvents {
 public:
  UrlEvents(Context& context, UrlBook& book)
      : context_(context), book_(book), started_at_(read_clocks().mono) {}

  void follow(const BatchRun* run) { run_ = run; }
  [[nodiscard]] std::uint64_t without() const { return rows_ - with_status_; }

  void acknowledged(const Acknowledged& request) override {
    book_.enqueued(request.first, request.count, request.first_index);
  }

  void result(const protocol::ResultRow& row) override {
    const UrlRow parsed = read_row(row);
    ++rows_;
    if (parsed.status) ++with_status_;
    context_.progress().clear();
    print(row, parsed, book_.url_of(row.job));
  }

  Status turned() override {
    context_.output().flush();
    context_.progress().draw({.done = rows_,
                              .total = run_->enqueued(),
                              .failed = without(),
                              .elapsed = read_clocks().mono - started_at_});
    return context_.output().failure();
  }

  void sum_up() {
    const Duration elapsed = read_clocks().mono - started_at_;
    context_.note(fmt::format("{} · {} with a status · {} without · {} · {}",
                              format_count(rows_, "url"), format_count(with_status_),
                              format_count(without()), format_elapsed(elapsed),
                              format_rate(rows_, elapsed)));
  }

 private:
  void print(const protocol::ResultRow& row, const UrlRow& parsed, std::string_view url) {
    Output& output = context_.output();
    if (output.is_table()) {
      const std::string status = parsed.status ? fmt::format("{}", *parsed.status) : "-";
      output.line(fmt::format("{:>4} {:>7} ms  {}{}{}", status, parsed.elapsed_ms, printable(url),
                              parsed.error.empty() ? "" : "  ", printable(parsed.error)));
      return;
    }
    JsonObject object;
    object.number("job", row.job.value).text("url", url);
    if (parsed.status)
      object.number("status", *parsed.status);
    else
      object.null("status");
    object.number("elapsed_ms", parsed.elapsed_ms).text_or_null("error", parsed.error);
    output.row(object.number("attempts", row.attempts).take());
  }

  Context& context_;
  UrlBook& book_;
  const BatchRun* run_ = nullptr;
  Instant started_at_;
  std::uint64_t rows_ = 0;
  std::uint64_t with_status_ = 0;
};

/// The exit code: bad lines weigh more than URLs without a status.
int finish(Context& context, const UrlLines& lines, UrlEvents& events, std::uint64_t enqueued) {
  context.progress().clear();
  context.output().finish();
  if (enqueued == 0 && lines.bad() == 0)
    context.note(fmt::format("{} holds no URL", lines.name()));
  else if (enqueued > 0)
    events.sum_up();
  if (!lines.failure()) return context.give_up(lines.failure().error());
  if (lines.bad() > 0) {
    context.error(fmt::format("{} left out", format_count(lines.bad(), "bad line")));
    return exit_code(ErrorCode::bad_data);
  }
  return events.without() == 0 ? kExitOk : kExitSomeFailed;
}

}  // namespace

int run_urls(Context& context, const UrlsOptions& options) {
  if (const Status good = check_options(options); !good) return context.give_up(good.error());
  UrlBook book;
  UrlLines lines(context, options, book);
  if (const Status good = lines.open(); !good) return context.give_up(good.error());
  if (options.strict) {
    if (const Status good = lines.load(); !good) return context.give_up(good.error());
    if (lines.bad() > 0)
      return context.give_up({ErrorCode::bad_data,
                              fmt::format("{}, so nothing is enqueued (--strict)",
                                          format_count(lines.bad(), "bad line")),
                              {}});
  }
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  UrlEvents events(context, book);
  BatchRun run(**client, {.queue = options.queue});
  events.follow(&run);
  if (const Status done = run.run(lines, events); !done)
    return context.give_up(done.error(), run, events, run.taken() + lines.count_rest(), "URL");
  return finish(context, lines, events, run.enqueued());
}

}  // namespace millrace::producer

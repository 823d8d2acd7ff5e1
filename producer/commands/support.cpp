#include "producer/commands/support.h"

#include <fmt/format.h>

#include <charconv>

#include "common/util/clock.h"
#include "producer/json_text.h"

namespace millrace::producer {
namespace {

Status check_name(std::string_view what, std::string_view name) {
  if (is_name(name)) return {};
  return fail(ErrorCode::usage,
              fmt::format("`{}` is no {} name: use 1 to 64 of a-z 0-9 . _ -", name, what));
}

}  // namespace

Status check_queue(std::string_view queue) { return check_name("queue", queue); }
Status check_kind(std::string_view kind) { return check_name("kind", kind); }

Result<std::uint64_t> parse_id(std::string_view what, std::string_view text) {
  std::int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && stop == text.data() + text.size() && value > 0)
    return static_cast<std::uint64_t>(value);
  return fail(ErrorCode::usage,
              fmt::format("`{}` is no {} id: ids are whole numbers from 1 on", text, what));
}

bool selects(const SelectOptions& options) {
  return !options.ids.empty() || options.batch != 0 || !options.states.empty() ||
         !options.queue.empty() || !options.kind.empty() || !options.unique_key.empty() ||
         options.since != Time{} || options.until != Time{};
}

Result<std::vector<JobId>> parse_job_ids(const std::vector<std::string>& texts) {
  if (texts.size() > kArrayItemsMax)
    return fail(ErrorCode::usage, fmt::format("{} ids at once are over the limit of {}",
                                              texts.size(), kArrayItemsMax));
  std::vector<JobId> ids;
  for (const std::string& text : texts) {
    const auto id = parse_id("job", text);
    if (!id) return tl::make_unexpected(id.error());
    ids.emplace_back(*id);
  }
  return ids;
}

Result<protocol::JobFilter> make_filter(const SelectOptions& options) {
  protocol::JobFilter filter;
  auto ids = parse_job_ids(options.ids);
  if (!ids) return tl::make_unexpected(ids.error());
  filter.ids = std::move(*ids);
  for (const std::string& word : options.states) {
    if (!parse(word, filter.states.emplace_back()))
      return fail(
          ErrorCode::usage,
          fmt::format("`{}` is no state: there are blocked, scheduled, ready, leased, done, "
                      "dead, cancelled, expired",
                      word));
  }
  for (const auto& check : {options.queue.empty() ? Status{} : check_queue(options.queue),
                            options.kind.empty() ? Status{} : check_kind(options.kind)})
    if (!check) return tl::make_unexpected(check.error());
  filter.batch = BatchId{options.batch};
  filter.queue = options.queue;
  filter.kind = options.kind;
  filter.unique_key = options.unique_key;
  filter.since = options.since;
  filter.until = options.until;
  return filter;
}

Status for_each_page(
    Client& client, const protocol::JobFilter& filter,
    const std::function<Status(const std::vector<protocol::JobInfo>& jobs, bool last)>& visit) {
  protocol::List request{.filter = filter, .limit = kFilterPageJobs};
  auto page = client.call<protocol::Page>(request);
  while (page) {
    // The first answer bounds the walk: what is made meanwhile, by this walk too, is not met.
    if (request.upto == 0) request.upto = page->highest;
    const auto jobs = std::move(page->jobs);
    request.after = page->next;
    const bool more = request.after != 0 && request.upto != 0;
    if (more) page = client.call<protocol::Page>(request);
    const bool last = !more || (page && page->jobs.empty() && page->next == 0);
    if (!jobs.empty() && page)
      if (Status good = visit(jobs, last); !good) return good;
    if (!more) return {};
  }
  return tl::make_unexpected(page.error());
}

ResultPrinter::ResultPrinter(Context& context)
    : context_(context), started_at_(read_clocks().mono) {}

void ResultPrinter::result(const protocol::ResultRow& row) {
  ++rows_;
  ++by_state_[static_cast<std::size_t>(row.state)];
  if (row.state != JobState::done) ++failed_;
  context_.progress().clear();
  if (!context_.output().is_table()) {
    context_.output().row(to_json(row));
    return;
  }
  const std::string text = row.state == JobState::done ? payload_text(row.result) : row.error;
  context_.output().line(fmt::format("{:>8}  {:<9}  {}  {}", row.job.value, to_string(row.state),
                                     row.kind, printable(text)));
}

void ResultPrinter::missing(JobId job, const Error& error) {
  ++missing_;
  context_.progress().clear();
  context_.error(fmt::format("job {}: {}", job.value, error.message));
}

Status ResultPrinter::turned() {
  context_.output().flush();
  ProgressState state{.done = 0,
                      .total = 0,
                      .failed = failed_ + missing_,
                      .elapsed = read_clocks().mono - started_at_};
  if (run_ != nullptr) {
    const auto& watched = run_->watched();
    state.total = (watched ? watched->total() : 0) + run_->awaited().total();
    state.done = state.total - (watched ? watched->open() : 0) - run_->awaited().open();
  }
  if (state.total > 0) context_.progress().draw(state);
  return context_.output().failure();
}

void ResultPrinter::sum_up() {
  const Duration elapsed = read_clocks().mono - started_at_;
  std::string text = format_count(rows_, "job");
  for (std::size_t i = 0; i < kJobStateCount; ++i)
    if (by_state_[i] > 0)
      text +=
          fmt::format(" · {} {}", format_count(by_state_[i]), to_string(static_cast<JobState>(i)));
  context_.note(
      fmt::format("{} · {} · {}", text, format_elapsed(elapsed), format_rate(rows_, elapsed)));
}

}  // namespace millrace::producer

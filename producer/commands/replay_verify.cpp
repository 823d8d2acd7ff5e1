#include "producer/commands/replay_verify.h"

#include <fmt/format.h>

#include "common/util/clock.h"
#include "producer/json_text.h"
#include "producer/replay_run.h"

namespace millrace::producer {
namespace {

/// Nothing is printed while the replays run but the progress.
class ReplayProgress : public BatchEvents {
 public:
  explicit ReplayProgress(Context& context) : context_(context), started_at_(read_clocks().mono) {}

  void follow(const BatchRun* run) { run_ = run; }
  [[nodiscard]] Duration elapsed() const { return read_clocks().mono - started_at_; }

  Status turned() override {
    const auto& watched = run_->watched();
    context_.progress().draw({.done = watched->total() - watched->open(),
                              .total = watched->total(),
                              .failed = 0,
                              .elapsed = elapsed()});
    return {};
  }

 private:
  Context& context_;
  const BatchRun* run_ = nullptr;
  Instant started_at_;
};

/// `done 42`, `dead refused: …`.
std::string describe(const protocol::JobInfo& job) {
  const std::string what = job.state == JobState::done ? payload_text(job.result) : job.error;
  return fmt::format("{} {}", to_string(job.state), printable(what.substr(0, 60)));
}

void print_difference(Context& context, const ReplayDifference& difference) {
  const protocol::JobInfo& replay = difference.replay;
  const auto& original = difference.original;
  Output& output = context.output();
  if (output.is_table()) {
    output.line(fmt::format("job {} replays {}: {} | was {}", replay.job.value,
                            replay.replay_of.value, describe(replay),
                            original ? describe(*original) : "removed"));
    return;
  }
  JsonObject row;
  row.number("job", replay.job.value).number("replay_of", replay.replay_of.value);
  row.text("state", to_string(replay.state));
  row.text_or_null("state_was", original ? to_string(original->state) : std::string_view{});
  row.raw("result", payload_json(replay.result));
  row.raw("result_was", original ? payload_json(original->result) : "null");
  row.text_or_null("error", replay.error);
  row.text_or_null("error_was", original ? std::string_view(original->error) : std::string_view{});
  output.row(row.take());
}

}  // namespace

int verify_replayed(Context& context, Client& client, BatchId batch, std::uint64_t count) {
  ReplayProgress progress(context);
  BatchRun run(client, {});
  progress.follow(&run);
  std::uint64_t differences = 0;
  Result<std::uint64_t> compared = 0;
  Status done = run.watch(batch, {}, progress);
  context.progress().clear();
  if (done) {
    compared = verify_replays(client, batch, [&](const ReplayDifference& difference) -> Status {
      ++differences;
      print_difference(context, difference);
      return context.output().failure();
    });
    if (!compared) done = tl::make_unexpected(compared.error());
  }
  context.output().finish();
  if (!done) {
    const int code = context.give_up(done.error());
    context.error(fmt::format("batch {} was replayed and is not verified", batch.value));
    return code;
  }
  if (*compared < count)
    context.error(
        fmt::format("{} of batch {} are no longer there and cannot be compared; see "
                    "--retention of the broker",
                    format_count(count - *compared, "job"), batch.value));
  context.note(fmt::format("{} replayed as batch {} · {} as before · {} not · {}",
                           format_count(count, "job"), batch.value,
                           format_count(*compared - differences), format_count(differences),
                           format_elapsed(progress.elapsed())));
  return differences == 0 && *compared >= count ? kExitOk : kExitSomeFailed;
}

}  // namespace millrace::producer

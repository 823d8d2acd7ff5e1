#include "producer/context.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <stdexcept>

namespace millrace::producer {
namespace {

/// After a signal: what is under way may still be acknowledged, and the batch sealed.
constexpr Duration kLeaveBudget{1000};

}  // namespace

Result<Client*> Context::connect() {
  try {
    if (!client_)
      client_ = std::make_unique<Client>(ClientOptions{.broker = options_.broker,
                                                       .name = "millrace-producer",
                                                       .reconnect = options_.reconnect,
                                                       .stop_fd = signals_.fd()});
  } catch (const std::runtime_error& error) {
    return fail(ErrorCode::usage, error.what());
  }
  if (const Status good = client_->connect(); !good) return tl::make_unexpected(good.error());
  return client_.get();
}

void Context::message(MessageLevel level, std::string_view text) {
  if (level < options_.level) return;
  output_.flush();
  progress_.clear();
  fmt::print(stderr, "{}\n", printable(text));
}

int Context::signal_code() const {
  const auto signal = signals_.take();
  return signal ? 128 + *signal : kExitInterrupted;
}

int Context::give_up(const Error& problem) {
  if (problem.code == ErrorCode::stopping) return signal_code();
  error(fmt::format("millrace-producer: {}", problem.message));
  return exit_code(problem.code);
}

int Context::give_up(const Error& problem, BatchRun& run, BatchEvents& events, std::uint64_t total,
                     std::string_view noun) {
  const bool signalled = problem.code == ErrorCode::stopping;
  const int code = give_up(problem);
  if (signalled) {
    error("interrupted, leaving");
    run.leave(kLeaveBudget, events);
  }
  if (!run.batch() && total == 0) return code;
  total = std::max(total, run.enqueued());
  const std::string before =
      run.existing() == 0 ? "" : fmt::format(", {} there before", format_count(run.existing()));
  error(fmt::format("{} of {} enqueued{}{}", format_count(run.enqueued()),
                    format_count(total, noun), before,
                    run.batch() ? fmt::format("; batch {} goes on", run.batch().value) : ""));
  if (run.batch()) error("resume with: " + resume_command(run.batch(), run.cursor()));
  return code;
}

std::string Context::command_line(std::string_view command) const {
  const std::string broker =
      options_.broker == kEndpointDefault ? "" : " --broker " + options_.broker;
  return fmt::format("millrace-producer{} {}", broker, command);
}

std::string Context::resume_command(BatchId batch, FinishSeq from) const {
  return command_line(fmt::format("results {} --from {}", batch.value, from.value));
}

}  // namespace millrace::producer

#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/util/signals.h"
#include "producer/batch_run.h"
#include "producer/client.h"
#include "producer/output.h"
#include "producer/progress.h"

namespace millrace::producer {

enum class MessageLevel : std::uint8_t { info, warn, error, off };

struct ContextOptions {
  std::string broker = kEndpointDefault;
  OutputFormat format = OutputFormat::table;
  MessageLevel level = MessageLevel::info;
  Duration reconnect{60'000};
};

/// What every command works with: the connection, rows on stdout, messages on stderr.
class Context {
 public:
  Context(ContextOptions options, const Signals& signals)
      : options_(std::move(options)), signals_(signals), output_(options_.format) {}

  /// Waits for the broker at the first call. Errors: usage (no endpoint), as Client::connect.
  [[nodiscard]] Result<Client*> connect();
  [[nodiscard]] Output& output() { return output_; }
  /// Readable after a signal that asks us to stop.
  [[nodiscard]] int stop_fd() const { return signals_.fd(); }
  [[nodiscard]] Progress& progress() { return progress_; }

  /// A line on stderr, if the level lets it pass.
  void note(std::string_view text) { message(MessageLevel::info, text); }
  void warn(std::string_view text) { message(MessageLevel::warn, text); }
  void error(std::string_view text) { message(MessageLevel::error, text); }

  /// Says what went wrong and returns the exit code for it.
  [[nodiscard]] int give_up(const Error& error);
  /// The same for a run of a batch, which goes on without us: says how much of `total` is enqueued
  /// and how to resume. After a signal it takes a moment to seal the batch.
  [[nodiscard]] int give_up(const Error& error, BatchRun& run, BatchEvents& events,
                            std::uint64_t total, std::string_view noun);
  [[nodiscard]] const std::string& broker() const { return options_.broker; }
  /// `millrace-producer COMMAND`, with --broker where it is needed.
  [[nodiscard]] std::string command_line(std::string_view command) const;
  /// `millrace-producer results 17 --from 42`.
  [[nodiscard]] std::string resume_command(BatchId batch, FinishSeq from) const;

 private:
  void message(MessageLevel level, std::string_view text);
  [[nodiscard]] int signal_code() const;

  ContextOptions options_;
  const Signals& signals_;
  Output output_;
  Progress progress_;
  std::unique_ptr<Client> client_;
};

}  // namespace millrace::producer

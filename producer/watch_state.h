#pragma once

// What a stream of results has shown so far, and when WATCH must be sent. Pure.

#include <vector>

#include "common/protocol/messages.h"

namespace millrace::producer {

/// Follows one batch from a cursor, without gap or repeat. WATCH is repeated with the newest cursor
/// after kRowsPerWatch rows and each second: it is the flow control, and it heals a lost message.
class WatchState {
 public:
  static constexpr std::uint64_t kRowsPerWatch = 1000;
  static constexpr Duration kWatchEvery{1000};
  static constexpr Duration kGapWatchAfter{100};

  WatchState(BatchId batch, FinishSeq from) : batch_(batch), cursor_(from) {}

  /// Takes the rows that are new. Rows from beyond our cursor mean that a message was lost: they
  /// are dropped and WATCH becomes due.
  [[nodiscard]] std::vector<protocol::ResultRow> accept(protocol::Results results);
  /// A new session does not know our watch.
  void renew() { sent_at_ = {}; }
  /// More was enqueued after the broker had said that nothing follows: ask again.
  void reopen() {
    ended_ = false;
    renew();
  }
  [[nodiscard]] bool due(Instant now) const;
  /// The WATCH to send now.
  [[nodiscard]] protocol::Watch next(Instant now);

  [[nodiscard]] BatchId batch() const { return batch_; }
  [[nodiscard]] FinishSeq cursor() const { return cursor_; }
  /// Jobs in the batch, and how many of them have not ended, as the broker last said.
  [[nodiscard]] std::uint64_t total() const { return total_; }
  [[nodiscard]] std::uint64_t open() const { return open_; }
  /// The broker said that nothing follows.
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  BatchId batch_;
  FinishSeq cursor_;
  std::uint64_t total_ = 0;
  std::uint64_t open_ = 0;
  std::uint64_t rows_since_watch_ = 0;
  Instant sent_at_{};  // zero: not in this session
  bool gap_ = false;
  bool ended_ = false;
};

}  // namespace millrace::producer

#pragma once

#include <algorithm>
#include <cstdint>
#include <map>

#include "common/protocol/messages.h"
#include "tests/simulation/violation.h"

namespace millrace::simulation {

/// One peer's stream of the results of a batch.
class Watcher {
 public:
  struct Told {
    std::uint64_t times = 0;
    protocol::ResultRow last;
  };

  explicit Watcher(BatchId batch) : batch_(batch) {}

  /// Takes what is new of what arrived; false when something before it is missing and WATCH has to
  /// be sent again.
  bool take(const protocol::Results& results) {
    if (results.from > cursor_) return false;
    FinishSeq last = results.from;
    for (const protocol::ResultRow& row : results.rows) {
      require(row.cursor > last && row.cursor <= results.cursor,
              "batch {}: a row at {} between the cursors {} and {}", batch_.value, row.cursor.value,
              last.value, results.cursor.value);
      last = row.cursor;
      if (row.cursor <= cursor_) continue;  // an earlier WATCH was repeated
      require(!ended_, "batch {} goes on after its end", batch_.value);
      require(is_final(row.state), "batch {}: job {} is told as `{}`", batch_.value, row.job.value,
              to_string(row.state));
      cursor_ = row.cursor;
      Told& told = jobs_[row.job];
      ++told.times;
      told.last = row;
    }
    cursor_ = std::max(cursor_, results.cursor);
    ended_ = ended_ || results.end;
    return true;
  }

  [[nodiscard]] protocol::Watch request() const { return {batch_, cursor_}; }
  [[nodiscard]] BatchId batch() const { return batch_; }
  [[nodiscard]] bool ended() const { return ended_; }
  /// More was enqueued after the broker had taken the producer for lost and ended the stream.
  void reopen() { ended_ = lost_; }
  /// The batch is gone (retention): nothing more will come.
  void give_up() { ended_ = lost_ = true; }
  [[nodiscard]] bool lost() const { return lost_; }
  [[nodiscard]] const std::map<JobId, Told>& jobs() const { return jobs_; }

 private:
  BatchId batch_;
  FinishSeq cursor_;
  bool ended_ = false;
  bool lost_ = false;
  std::map<JobId, Told> jobs_;
};

}  // namespace millrace::simulation

#include "producer/watch_state.h"

#include <algorithm>

namespace millrace::producer {

std::vector<protocol::ResultRow> WatchState::accept(protocol::Results results) {
  if (results.batch != batch_) return {};
  if (results.from > cursor_) {
    gap_ = true;
    return {};
  }
  total_ = results.total;
  open_ = results.open;
  // The answer to a repeated WATCH may begin again with rows that were already under way.
  std::erase_if(results.rows,
                [this](const protocol::ResultRow& row) { return row.cursor <= cursor_; });
  if (results.cursor >= cursor_) ended_ = results.end;
  cursor_ = std::max(cursor_, results.cursor);
  rows_since_watch_ += results.rows.size();
  gap_ = false;
  return std::move(results.rows);
}

bool WatchState::due(Instant now) const {
  if (sent_at_ == Instant{}) return true;
  if (rows_since_watch_ >= kRowsPerWatch) return true;
  return now - sent_at_ >= (gap_ ? kGapWatchAfter : kWatchEvery);
}

protocol::Watch WatchState::next(Instant now) {
  sent_at_ = now;
  rows_since_watch_ = 0;
  gap_ = false;
  return {batch_, cursor_};
}

}  // namespace millrace::producer

#pragma once

#include <millrace/handler.h>

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "common/limits.h"
#include "common/protocol/messages.h"
#include "common/util/mutex.h"
#include "common/util/wakeup.h"

namespace millrace::worker {

/// What one run may leave behind, as WELCOME told it.
struct OutputLimits {
  std::uint64_t rows_max = Limits{}.output_rows_max;
  std::uint64_t bytes_max = Limits{}.output_bytes_max;
  std::uint64_t item_bytes_max = Limits{}.output_item_bytes_max;
};

/// The newest progress of a run leaves this often, in a run of hours less often: it may not use up
/// the rows that the run's log needs.
inline constexpr Duration kProgressEvery{500};
inline constexpr std::size_t kProgressTextBytesMax = 1 * kKiB;

/// Log lines, progress and chunks on their way from the threads of the runs to the agent, and the
/// count of those that the broker has not settled.
///
/// Every item gets its number within its run here, and the agent sends one OUTPUT at a time, so
/// that numbers reach the broker in order: it takes a number that is not above the last one for a
/// repetition.
///
/// Memory: everything not settled, together with the outcomes in the outbox, is to stay below
/// kOutboxBytesMax; a run that writes more waits, which holds up its own thread and nothing else.
/// The bound is passed by one item a slot at most. The agent never waits here, and outcomes never
/// wait for room: so what fills the buffer can always be settled.
class OutputBuffer {
 public:
  /// `wakeup` is notified when there is something to take; it must outlive the buffer.
  explicit OutputBuffer(const Wakeup& wakeup, std::size_t bytes_max = kOutboxBytesMax)
      : wakeup_(wakeup), bytes_max_(bytes_max) {}

  // ---- the thread of the run -------------------------------------------------------------------
  /// Waits for room until stop is requested. A line above the limits ends the run's log, with a
  /// last line that says so; so does a stop while there is no room.
  void log(const Job& job, const std::stop_token& stop, std::string_view line);
  /// Waits as log() does. Throws std::length_error above a limit, std::runtime_error when stop is
  /// requested while there is no room.
  void chunk(const Job& job, const std::stop_token& stop, Payload part);
  /// Never waits: the newest one takes the place of one that has not left.
  void progress(const Job& job, std::uint64_t done, std::uint64_t total, std::string_view text);

  // ---- the agent's thread ----------------------------------------------------------------------
  void set_limits(const OutputLimits& limits);
  /// What the outbox holds besides.
  void set_outcome_bytes(std::size_t bytes);

  struct Taken {
    std::vector<protocol::OutputItem> items;
    std::optional<Instant> next_due;  ///< when there may be more, if nobody notifies before
  };
  /// One message's worth; ended runs first, the others in turn. Given back to settle() once.
  [[nodiscard]] Taken take(Instant now);

  /// A run that has returned and of which nothing is unsettled.
  struct Ended {
    LeaseId lease;
    bool chunk_lost = false;  ///< the broker did not take a part of the result
  };
  struct Settlement {
    std::vector<Ended> ended;  ///< runs that end() was told of and that wait for nothing more
    std::size_t lost = 0;      ///< items that were not taken, of runs whose lease is still ours
    std::size_t refused = 0;   ///< of them, for a limit
    JobId first_lost;
  };
  /// The broker has answered for these; a missing status counts as `refused`.
  Settlement settle(const std::vector<protocol::OutputItem>& items,
                    const std::vector<protocol::ItemStatus>& statuses);
  /// The run has returned (or there was none); its last progress is due now. Nothing: settle() will
  /// name it.
  [[nodiscard]] std::optional<Ended> end(LeaseId lease);
  /// The lease is lost: what waits is forgotten, what is still to come ignored.
  void discard(LeaseId lease);

  /// True while runs that write have to wait.
  [[nodiscard]] bool is_full();

 private:
  struct Progress {
    std::uint64_t done = 0;
    std::uint64_t total = 0;
    std::string text;
    Time at{};
  };
  struct Run {
    JobId job;
    std::deque<protocol::OutputItem> items;  // not taken
    std::optional<Progress> progress;        // told, but neither taken nor numbered
    std::optional<Instant> progress_since;
    Instant progress_due{};
    std::uint64_t rows = 0;   // numbers given
    std::uint64_t bytes = 0;  // of their data
    std::size_t in_flight = 0;
    bool log_closed = false;
    bool discarded = false;
    bool ended = false;
    bool chunk_lost = false;
  };
  using Runs = std::map<LeaseId, Run>;

  [[nodiscard]] bool await_room(const std::stop_token& stop);
  [[nodiscard]] bool has_room() const MR_REQUIRES(mutex_) {
    return bytes_ + outcome_bytes_ < bytes_max_;
  }
  /// Which limit another item would pass; empty: none.
  [[nodiscard]] std::string limit_passed(const Run& run, std::size_t bytes, bool last) const
      MR_REQUIRES(mutex_);
  void close_log(LeaseId lease, Run& run, const std::string& why) MR_REQUIRES(mutex_);
  void push(LeaseId lease, Run& run, OutputType type, Payload data, Time at) MR_REQUIRES(mutex_);
  /// Numbers the newest progress; beyond the limits it is left out.
  void push_progress(LeaseId lease, Run& run) MR_REQUIRES(mutex_);
  void take_from(LeaseId lease, Run& run, Instant now, Taken& taken, std::size_t& bytes)
      MR_REQUIRES(mutex_);
  [[nodiscard]] Run& run_of(const Job& job) MR_REQUIRES(mutex_);
  void mark_dirty() MR_REQUIRES(mutex_);
  [[nodiscard]] std::optional<Ended> remove_if_over(Runs::iterator found) MR_REQUIRES(mutex_);

  const Wakeup& wakeup_;
  const std::size_t bytes_max_;

  Mutex mutex_;
  Condition room_;
  OutputLimits limits_ MR_GUARDED_BY(mutex_);
  Runs runs_ MR_GUARDED_BY(mutex_);
  LeaseId last_ MR_GUARDED_BY(mutex_);  // whose turn was last
  std::size_t bytes_ MR_GUARDED_BY(mutex_) = 0;
  std::size_t outcome_bytes_ MR_GUARDED_BY(mutex_) = 0;
  bool dirty_ MR_GUARDED_BY(mutex_) = false;  // notified, and not taken since
};

}  // namespace millrace::worker

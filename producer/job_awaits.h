#pragma once

// Waits for the ends of single jobs, many at a time. Belongs to the client's thread.

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "producer/client.h"

namespace millrace::producer {

/// Sends an AWAIT for each job it is given, a bounded number at a time, and knows their answers
/// among what the client receives.
class JobAwaits {
 public:
  /// Well below what the broker lets one peer have (limits.waits_per_session_max).
  static constexpr std::size_t kUnderWayMax = 1000;

  /// How one of the jobs ended, or why that cannot be known (not_found: the job is gone).
  struct Answer {
    JobId job;
    Result<protocol::ResultRow> row;
  };

  /// A job that was given before is ignored. False then.
  bool add(JobId job);
  /// Sends what may be under way now.
  void send_due(Client& client, Instant now);
  /// The answer that `reply` is; nothing when it answers something else, or is to be asked again.
  [[nodiscard]] std::optional<Answer> take(net::Replied& reply, Instant now);

  [[nodiscard]] std::size_t total() const { return known_.size(); }
  [[nodiscard]] std::size_t open() const { return waiting_.size() + under_way_.size(); }

 private:
  struct Waiting {
    JobId job;
    Instant again_at{};
  };
  std::set<JobId> known_;
  std::deque<Waiting> waiting_;
  std::map<std::uint64_t, JobId> under_way_;  // by correlation
};

}  // namespace millrace::producer

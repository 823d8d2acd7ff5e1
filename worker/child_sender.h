#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "common/protocol/messages.h"
#include "worker/child_jobs.h"
#include "worker/link.h"

namespace millrace::worker {

/// Asks the broker to enqueue what runs enqueue: a call in as many messages as the limits require,
/// one after the other, each kept until it is answered. The agent's thread.
///
/// The link sends a message again after a reconnect. The broker may then read it behind the outcome
/// of its run, and would refuse it, for the lease is over. So an outcome is not sent while a call
/// of its run is open.
class ChildSender {
 public:
  /// Both must outlive it.
  ChildSender(Link& link, ChildJobs& children) : link_(link), children_(children) {}

  void connected(const protocol::Welcome& welcome);
  /// Sends what may be sent now.
  void turn(Instant now);
  /// The reply to an ENQUEUE. False when the request was not ours.
  bool answered(std::uint64_t correlation, const protocol::Message& reply, Instant now);
  /// The lease is lost: its calls end with `lease_lost`.
  void discard(LeaseId lease);
  /// Runs of which a call was closed since the last time.
  [[nodiscard]] std::vector<LeaseId> take_closed() { return std::exchange(closed_, {}); }
  /// When turn() must be called at the latest.
  [[nodiscard]] std::optional<Instant> next_due() const;

 private:
  struct Sending {
    ChildJobs::Call call;
    std::size_t taken = 0;  ///< jobs that are in `message` or were in one before
    std::vector<JobId> ids;
    protocol::Enqueue message;  ///< not answered; without jobs: there is none
    Instant send_at{};          ///< not before; a broker that is busy says so
    [[nodiscard]] bool is_complete() const {
      return message.jobs.empty() && taken == call.jobs.size();
    }
  };

  void take_new();
  void fill(Sending& sending);
  /// The call has its answer.
  void close(const Sending& sending, ChildJobs::Answer answer);

  Link& link_;
  ChildJobs& children_;
  std::list<Sending> waiting_;             // nothing of them is on its way
  std::map<std::uint64_t, Sending> sent_;  // by correlation
  std::vector<LeaseId> closed_;
  std::uint64_t counter_ = 0;
  std::size_t jobs_max_ = Limits{}.enqueue_jobs_max;
  std::size_t bytes_max_ = Limits{}.enqueue_bytes_max;
};

}  // namespace millrace::worker

#pragma once

#include <millrace/handler.h>

#include <cstdint>
#include <functional>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "common/errors.h"
#include "common/protocol/messages.h"
#include "common/util/mutex.h"
#include "common/util/random.h"
#include "common/util/wakeup.h"

namespace millrace::worker {

/// What runs enqueue, on its way from their threads to the agent, and the count of the calls that
/// have no answer yet. ChildSender, on the agent's thread, does the asking.
///
/// Memory: a run that waits for its answer has one call at most; one that does not wait may have
/// any number, which is for its handler to bound.
class ChildJobs {
 public:
  /// The ids in the order of the jobs, or why not: what the broker says, `lease_lost`, `stopping`.
  using Answer = Result<std::vector<JobId>>;
  using Callback = std::function<void(Answer)>;

  /// `wakeup` is notified when there is something to take; it must outlive this. `prefix` begins
  /// the ids of this process's requests: not 0, and never used before.
  explicit ChildJobs(const Wakeup& wakeup, std::uint64_t prefix = random_u64() | 1)
      : wakeup_(wakeup), prefix_(prefix) {}

  // ---- any thread ------------------------------------------------------------------------------
  /// Blocks until the broker has answered. When stop is requested it returns at once, `stopping`;
  /// the broker may get the jobs all the same. `queue` empty: that of `parent`.
  [[nodiscard]] Answer enqueue(const Job& parent, const std::stop_token& stop,
                               std::vector<JobRequest> jobs, const std::string& queue);
  /// Returns at once. `callback` runs once, on the agent's thread, and may not throw or block; it
  /// does not run when the agent leaves before the answer is there. When stop is requested before
  /// the broker was asked, it is not asked any more.
  void enqueue(const Job& parent, std::stop_token stop, std::vector<JobRequest> jobs,
               const std::string& queue, Callback callback);

  // ---- the agent's thread ----------------------------------------------------------------------
  struct Call {
    LeaseId lease;
    std::string queue;
    std::vector<protocol::NewJob> jobs;
    std::stop_token stop;
    Callback callback;
  };
  /// What came since the last time. Each is answered, and then told to close().
  [[nodiscard]] std::vector<Call> take();
  void close(LeaseId lease);
  /// A call of this run is not closed: its outcome has to wait.
  [[nodiscard]] bool has_open(LeaseId lease);
  [[nodiscard]] std::uint64_t prefix() const { return prefix_; }

 private:
  const Wakeup& wakeup_;
  const std::uint64_t prefix_;

  Mutex mutex_;
  std::vector<Call> calls_ MR_GUARDED_BY(mutex_);
  std::map<LeaseId, std::size_t> open_ MR_GUARDED_BY(mutex_);
};

}  // namespace millrace::worker

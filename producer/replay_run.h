#pragma once

// Replays many jobs as one batch, and compares replays with their originals.

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "producer/client.h"

namespace millrace::producer {

/// Replays page after page into one batch that the last page seals. Belongs to the client's thread.
class ReplayRun {
 public:
  ReplayRun(Client& client, bool force);

  /// Replays at most Welcome::enqueue_jobs_max jobs; those that have not ended are left out of the
  /// answer. Blocks. Errors: as Client, queue_closed, queue_full, storage_full, not_replayable.
  [[nodiscard]] Result<protocol::Enqueued> replay(std::vector<JobId> jobs, bool last);

  [[nodiscard]] BatchId batch() const { return batch_; }
  [[nodiscard]] std::uint64_t count() const { return count_; }

 private:
  Client& client_;
  bool force_;
  std::uint64_t prefix_;
  std::uint64_t counter_ = 0;
  BatchId batch_;
  std::uint64_t count_ = 0;
};

/// True when a replay ended as its original did: the same state, the same bytes as result, and for
/// what is not done the same error word.
[[nodiscard]] bool ended_alike(const protocol::JobInfo& replay, const protocol::JobInfo& original);

/// A replay that did not end like its original.
struct ReplayDifference {
  protocol::JobInfo replay;
  std::optional<protocol::JobInfo> original;  ///< nothing when it is no longer there
};

/// Compares every job of a batch of replays that has ended with its original, in pages of bounded
/// size, and gives `difference` each that ended otherwise. Returns how many were compared.
/// Blocks. Errors: as Client, what `difference` returns.
[[nodiscard]] Result<std::uint64_t> verify_replays(
    Client& client, BatchId batch,
    const std::function<Status(const ReplayDifference&)>& difference);

/// The first word of an error text: `refused` of `refused: connection refused`.
[[nodiscard]] std::string_view error_word(std::string_view error);

}  // namespace millrace::producer

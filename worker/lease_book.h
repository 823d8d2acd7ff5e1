#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "common/protocol/messages.h"

namespace millrace::worker {

/// A delivery until it is over.
struct HeldLease {
  enum class State : std::uint8_t {
    waiting,  ///< for a slot
    running,
    unsettled,  ///< its outcome is in the outbox
    revoked,    ///< no lease any more, but its run has not returned: only the slot counts
  };

  State state = State::waiting;
  std::size_t pool = 0;
  protocol::Delivery delivery;  ///< kind, queue and payload are moved out when it starts
  std::optional<Instant> started_at;
  Duration elapsed{};  ///< once unsettled
  int drops = 0;       ///< RESUMED messages that named it while it was unsettled
};

/// Every delivery that is not over, with the count and hash that heartbeats carry. The agent's
/// thread.
class LeaseBook {
 public:
  /// Nothing when the lease is already in the book.
  HeldLease* add(protocol::Delivery delivery, std::size_t pool);
  [[nodiscard]] HeldLease* find(LeaseId lease);
  /// The lease is gone, its run goes on: it stays in the book but is not held any more.
  void revoke(HeldLease& held);
  void erase(LeaseId lease);

  /// Leases held, which excludes the revoked ones.
  [[nodiscard]] std::size_t held() const { return held_; }
  [[nodiscard]] std::uint64_t held_hash() const { return hash_; }
  [[nodiscard]] std::size_t running() const { return running_; }
  /// Marks a waiting delivery as running.
  void start(HeldLease& held, Instant now);
  /// The run returned, or there was none: its outcome is on its way.
  void end(HeldLease& held, Duration elapsed);

  /// What RESUME tells, by lease.
  [[nodiscard]] std::vector<protocol::HeldLease> list(Instant now) const;
  /// Leases in this state, oldest first.
  [[nodiscard]] std::vector<LeaseId> in_state(HeldLease::State state) const;

 private:
  std::unordered_map<LeaseId, HeldLease> leases_;
  std::size_t held_ = 0;
  std::size_t running_ = 0;  // revoked ones too
  std::uint64_t hash_ = 0;
};

}  // namespace millrace::worker

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "common/limits.h"
#include "worker/run_mean.h"

namespace millrace::worker {

/// How far the broker may push jobs of one pool. Pure arithmetic; the agent's thread.
///
/// The broker numbers the deliveries of a session and pool 1, 2, 3 … and never sends one above
/// `upto`. A delivery is *over* when its outcome is known, or it was revoked, and its slot is free
/// again. With `held` deliveries not over, delivered − held are, so
///
///     upto = (delivered − held) + slots + prefetch
///
/// An outcome that is not settled counts as over up to as many as the window has: CREDIT leaves
/// with the ACK, so the broker can write that a job is done and that another one is leased in one
/// commit. What is above that is held, which bounds the outbox.
///
/// The sum is kept in this form because only `delivered` and `held` can be known for certain: a
/// JOBS message that was lost on the way leaves a gap in the numbers, and a gap then counts as
/// over.
///
/// A broker to which the session is new (it restarted, or took us for lost) numbers from 1 again,
/// and the leases it lets us keep get the first numbers. RESUMED tells the highest, so that
/// delivered − held starts at 0 again, or below: a run whose lease was dropped still fills its
/// slot, and the credit for it comes when it returns. Until RESUMED is here the numbers mean
/// nothing and no credit is told.
class Credit {
 public:
  explicit Credit(std::uint64_t slots) : slots_(slots) {}

  /// A session began or was renewed.
  void forget_numbers();
  /// RESUMED: `delivered` is the highest number used so far.
  void learn_numbers(std::uint64_t delivered);
  /// JOBS brought a delivery.
  void deliver(std::uint64_t number);
  /// The outcome of a delivery is known.
  void answer();
  /// It is settled.
  void settle();
  /// A delivery is over without an outcome.
  void finish();
  /// A handler took this long.
  void measure(std::chrono::microseconds run);
  /// At most this many deliveries not over at any time; the pool's share of the broker's limit.
  void limit(std::uint64_t window_max) { window_max_ = window_max; }

  /// Computes `upto` anew; between two RESUMED it never falls.
  void raise();
  /// What every heartbeat repeats; nothing while the numbers are unknown.
  [[nodiscard]] std::optional<std::uint64_t> upto() const;
  /// True when `upto` has risen by so much since the last told() that a CREDIT is due. Slots never
  /// wait; of what goes beyond them a quarter may go untold until the next heartbeat.
  [[nodiscard]] bool is_due() const;
  void told() { told_ = upto_; }

  /// Deliveries of which nothing is known yet.
  [[nodiscard]] std::uint64_t held() const { return held_; }
  [[nodiscard]] std::uint64_t slots() const { return slots_; }
  [[nodiscard]] const RunMean& run_mean() const { return run_mean_; }
  /// Deliveries wanted beyond those the slots run: about kPrefetchSpan of measured work.
  [[nodiscard]] std::uint64_t prefetch() const { return prefetch_; }

 private:
  /// The most deliveries that are not over at one time.
  [[nodiscard]] std::uint64_t window() const;

  std::uint64_t slots_;
  std::uint64_t window_max_ = kPrefetchMax;
  std::uint64_t prefetch_ = 0;
  RunMean run_mean_;
  bool known_ = false;
  std::uint64_t delivered_ = 0;
  std::uint64_t held_ = 0;
  std::uint64_t unsettled_ = 0;
  std::uint64_t upto_ = 0;
  std::uint64_t told_ = 0;
};

inline constexpr std::chrono::milliseconds kPrefetchSpan{50};

}  // namespace millrace::worker

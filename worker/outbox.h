#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/protocol/messages.h"

namespace millrace::worker {

/// How a lease is given back.
enum class Verb : std::uint8_t { ack, nack, reject, release };

inline constexpr std::size_t kParcelItemsMax = 500;
inline constexpr std::size_t kParcelBytesMax = 1 * kMiB;

/// Outcomes until the broker has settled them. Pure bookkeeping; the agent's thread.
class Outbox {
 public:
  /// One message's worth of outcomes.
  struct Parcel {
    Verb verb = Verb::ack;
    std::vector<protocol::Outcome> items;
    std::size_t bytes = 0;
  };

  void add(Verb verb, protocol::Outcome outcome);
  /// As add(), but it does not go out: it waits for take_held().
  void hold(Verb verb, protocol::Outcome outcome);
  struct Held {
    Verb verb = Verb::ack;
    protocol::Outcome outcome;
  };
  /// Takes out what hold() put there for this lease.
  [[nodiscard]] std::optional<Held> take_held(LeaseId lease);
  [[nodiscard]] bool is_held(LeaseId lease) const { return held_.contains(lease); }
  /// What was added since the last call, in as few messages as the limits allow, and what was
  /// postponed until now. Each goes out and then into keep().
  [[nodiscard]] std::vector<Parcel> pack(Instant now);
  /// A parcel went out as request `correlation`; it is kept until take().
  void keep(std::uint64_t correlation, Parcel parcel);
  /// The parcel whose answer came; nothing when it is not one of ours.
  [[nodiscard]] std::optional<Parcel> take(std::uint64_t correlation);
  /// The broker refused the request for the moment: pack() gives it out again at `again_at`. False
  /// when it is not one of ours.
  bool postpone(std::uint64_t correlation, Instant again_at);
  /// When the next postponed parcel is due.
  [[nodiscard]] std::optional<Instant> next_due() const;
  /// The broker will not answer for this lease any more. Returns the request that thereby has no
  /// lease left to be answered for.
  std::optional<std::uint64_t> drop(LeaseId lease);

  /// Of everything not settled.
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  /// Outcomes of runs, not counting leases given back.
  [[nodiscard]] std::size_t results() const { return results_; }

 private:
  /// Takes the lease out of the parcel; false when it is not in it.
  bool remove(Parcel& parcel, LeaseId lease);

  std::map<LeaseId, Held> held_;
  std::vector<Parcel> unsent_;
  std::map<std::uint64_t, Parcel> sent_;  // by correlation
  std::multimap<Instant, Parcel> postponed_;
  std::size_t bytes_ = 0;
  std::size_t results_ = 0;
};

[[nodiscard]] protocol::Message to_message(const Outbox::Parcel& parcel);

}  // namespace millrace::worker

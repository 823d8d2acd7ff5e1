#include "worker/lease_book.h"

#include <algorithm>

#include "common/assert.h"

namespace millrace::worker {

using State = HeldLease::State;

HeldLease* LeaseBook::add(protocol::Delivery delivery, std::size_t pool) {
  const LeaseId lease = delivery.lease;
  const auto [entry, inserted] = leases_.try_emplace(lease);
  if (!inserted) return nullptr;
  entry->second.pool = pool;
  entry->second.delivery = std::move(delivery);
  ++held_;
  hash_ ^= protocol::lease_hash(lease);
  return &entry->second;
}

HeldLease* LeaseBook::find(LeaseId lease) {
  const auto found = leases_.find(lease);
  return found == leases_.end() ? nullptr : &found->second;
}

void LeaseBook::revoke(HeldLease& held) {
  MR_ASSERT(held.state != State::revoked);
  held.state = State::revoked;
  --held_;
  hash_ ^= protocol::lease_hash(held.delivery.lease);
}

void LeaseBook::erase(LeaseId lease) {
  const auto found = leases_.find(lease);
  MR_ASSERT(found != leases_.end(), "lease {}", lease.value);
  const State state = found->second.state;
  if (state == State::running || state == State::revoked) --running_;
  if (state != State::revoked) revoke(found->second);
  leases_.erase(found);
}

void LeaseBook::start(HeldLease& held, Instant now) {
  MR_ASSERT(held.state == State::waiting);
  held.state = State::running;
  held.started_at = now;
  ++running_;
}

void LeaseBook::end(HeldLease& held, Duration elapsed) {
  if (held.state == State::running) --running_;
  held.state = State::unsettled;
  held.elapsed = elapsed;
}

std::vector<protocol::HeldLease> LeaseBook::list(Instant now) const {
  std::vector<protocol::HeldLease> all;
  all.reserve(held_);
  for (const auto& [lease, held] : leases_) {
    if (held.state == State::revoked) continue;
    const Duration elapsed = held.state == State::running ? now - *held.started_at : held.elapsed;
    all.push_back({lease, held.delivery.job, held.started_at.has_value(), elapsed});
  }
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.lease < b.lease; });
  return all;
}

std::vector<LeaseId> LeaseBook::in_state(State state) const {
  std::vector<LeaseId> found;
  for (const auto& [lease, held] : leases_)
    if (held.state == state) found.push_back(lease);
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace millrace::worker

#include "worker/outbox.h"

#include <algorithm>
#include <utility>

namespace millrace::worker {
namespace {

/// Keys, ids and times of one item on the wire.
constexpr std::size_t kItemBytes = 96;

std::size_t size_of(const protocol::Outcome& outcome) {
  return kItemBytes + outcome.result.size() + outcome.error.size();
}

}  // namespace

void Outbox::add(Verb verb, protocol::Outcome outcome) {
  const std::size_t bytes = size_of(outcome);
  // One open parcel for each verb; a full one is closed by a newer one behind it.
  auto open = std::find_if(unsent_.rbegin(), unsent_.rend(),
                           [&](const Parcel& parcel) { return parcel.verb == verb; });
  if (open == unsent_.rend() || open->items.size() >= kParcelItemsMax ||
      open->bytes + bytes > kParcelBytesMax) {
    unsent_.push_back({.verb = verb, .items = {}, .bytes = 0});
    open = unsent_.rbegin();
  }
  open->items.push_back(std::move(outcome));
  open->bytes += bytes;
  bytes_ += bytes;
  if (verb != Verb::release) ++results_;
}

void Outbox::hold(Verb verb, protocol::Outcome outcome) {
  bytes_ += size_of(outcome);
  if (verb != Verb::release) ++results_;
  const LeaseId lease = outcome.lease;
  held_.emplace(lease, Held{verb, std::move(outcome)});
}

std::optional<Outbox::Held> Outbox::take_held(LeaseId lease) {
  auto node = held_.extract(lease);
  if (node.empty()) return std::nullopt;
  bytes_ -= size_of(node.mapped().outcome);
  if (node.mapped().verb != Verb::release) --results_;
  return std::move(node.mapped());
}

std::vector<Outbox::Parcel> Outbox::pack(Instant now) {
  std::vector<Parcel> parcels = std::exchange(unsent_, {});
  while (!postponed_.empty() && postponed_.begin()->first <= now)
    parcels.push_back(std::move(postponed_.extract(postponed_.begin()).mapped()));
  return parcels;
}

void Outbox::keep(std::uint64_t correlation, Parcel parcel) {
  sent_.emplace(correlation, std::move(parcel));
}

std::optional<Outbox::Parcel> Outbox::take(std::uint64_t correlation) {
  auto node = sent_.extract(correlation);
  if (node.empty()) return std::nullopt;
  bytes_ -= node.mapped().bytes;
  if (node.mapped().verb != Verb::release) results_ -= node.mapped().items.size();
  return std::move(node.mapped());
}

bool Outbox::postpone(std::uint64_t correlation, Instant again_at) {
  auto node = sent_.extract(correlation);
  if (node.empty()) return false;
  postponed_.emplace(again_at, std::move(node.mapped()));
  return true;
}

std::optional<Instant> Outbox::next_due() const {
  if (postponed_.empty()) return std::nullopt;
  return postponed_.begin()->first;
}

bool Outbox::remove(Parcel& parcel, LeaseId lease) {
  const auto item = std::find_if(parcel.items.begin(), parcel.items.end(),
                                 [&](const auto& outcome) { return outcome.lease == lease; });
  if (item == parcel.items.end()) return false;
  const std::size_t bytes = size_of(*item);
  parcel.bytes -= bytes;
  bytes_ -= bytes;
  if (parcel.verb != Verb::release) --results_;
  parcel.items.erase(item);
  return true;
}

std::optional<std::uint64_t> Outbox::drop(LeaseId lease) {
  if (take_held(lease)) return std::nullopt;
  for (auto entry = postponed_.begin(); entry != postponed_.end(); ++entry) {
    if (!remove(entry->second, lease)) continue;
    if (entry->second.items.empty()) postponed_.erase(entry);
    return std::nullopt;
  }
  for (auto entry = sent_.begin(); entry != sent_.end(); ++entry) {
    if (!remove(entry->second, lease)) continue;
    if (!entry->second.items.empty()) return std::nullopt;
    return sent_.extract(entry).key();
  }
  return std::nullopt;
}

protocol::Message to_message(const Outbox::Parcel& parcel) {
  switch (parcel.verb) {
    case Verb::ack:
      return protocol::Ack{parcel.items};
    case Verb::nack:
      return protocol::Nack{parcel.items};
    case Verb::reject:
      return protocol::Reject{parcel.items};
    case Verb::release:
      break;
  }
  return protocol::Release{parcel.items};
}

}  // namespace millrace::worker

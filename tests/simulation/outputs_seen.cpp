#include "tests/simulation/outputs_seen.h"

#include "tests/simulation/violation.h"

namespace millrace::simulation {

using protocol::ItemStatus;

void OutputsSeen::sent(const protocol::OutputItem& item) {
  const auto [entry, fresh] = items_.try_emplace({item.lease, item.n});
  if (fresh) entry->second.item = item;
  require(entry->second.item.data == item.data, "output {} of lease {} is sent with other data",
          item.n, item.lease.value);
}

void OutputsSeen::settled(const protocol::OutputItem& item, ItemStatus status, bool own) {
  if (status != ItemStatus::ok && status != ItemStatus::duplicate) return;
  const auto found = items_.find({item.lease, item.n});
  require(own && found != items_.end(),
          "output {} of lease {} was taken from a worker that never held it", item.n,
          item.lease.value);
  Item& seen = found->second;
  seen.told = true;
  if (status != ItemStatus::ok) return;
  require(!seen.kept, "output {} of lease {} was kept twice", item.n, item.lease.value);
  seen.kept = true;
}

}  // namespace millrace::simulation

#include "broker/engine/children.h"

namespace millrace::broker {

const Job* find_parent(Core& core, const SessionId& sender, LeaseId lease) {
  const auto session = core.sessions.find(sender);
  if (session == core.sessions.end()) return nullptr;
  return open_lease(core, session->second, lease, {}).job;
}

Batch& batch_of_parent(Core& core, const Job& parent) {
  const auto [entry, inserted] = core.batches.try_emplace(parent.spec.batch);
  Batch& batch = entry->second;
  if (!inserted && !batch.implicit) return batch;
  batch.implicit = false;
  batch.row = {.id = parent.spec.batch,
               .sealed = true,
               .owner = {},
               .total = 1,
               .open = 1,
               .created_at = parent.spec.enqueued_at};
  return batch;
}

bool is_own_queue(Core& core, const Job* parent, const std::string& queue) {
  return parent != nullptr && core.lane_of(*parent).queue->row.name == queue;
}

}  // namespace millrace::broker

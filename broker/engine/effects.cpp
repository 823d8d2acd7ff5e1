#include "broker/engine/effects.h"

#include <map>

namespace millrace::broker {

void fill_payloads(std::vector<Reply>& replies, const std::vector<JobId>& ids,
                   const std::vector<Payload>& payloads) {
  std::map<JobId, const Payload*> by_id;
  for (std::size_t i = 0; i < ids.size(); ++i) by_id.emplace(ids[i], &payloads.at(i));
  for (Reply& reply : replies) {
    auto* jobs = std::get_if<protocol::Jobs>(&reply.message);
    if (jobs == nullptr) continue;
    for (protocol::Delivery& item : jobs->items)
      if (const auto found = by_id.find(item.job); found != by_id.end())
        item.payload = *found->second;
  }
}

}  // namespace millrace::broker

#include "worker/registry.h"

#include "common/assert.h"

namespace millrace::worker {

void Registry::add(std::string name, Kind kind) {
  MR_ASSERT(is_name(name), "kind `{}`", name);
  kinds_.insert_or_assign(std::move(name), std::move(kind));
}

void Registry::remove_pool(std::string_view pool) {
  std::erase_if(kinds_, [&](const auto& entry) { return entry.second.pool == pool; });
}

const Kind* Registry::find(std::string_view name) const {
  const auto found = kinds_.find(name);
  return found == kinds_.end() ? nullptr : &found->second;
}

}  // namespace millrace::worker

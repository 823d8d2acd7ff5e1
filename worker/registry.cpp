#include "worker/registry.h"

#include "common/assert.h"

namespace millrace::worker {

void Registry::add(std::string name, Kind kind) {
  MR_ASSERT(is_name(name), "kind `{}`", name);
  kinds_.insert_or_assign(std::move(name), std::move(kind));
}

void Registry::move(std::string_view name, std::string pool) {
  kinds_.find(name)->second.pool = std::move(pool);
}

void Registry::remove(std::string_view name) { kinds_.erase(kinds_.find(name)); }

const Kind* Registry::find(std::string_view name) const {
  const auto found = kinds_.find(name);
  return found == kinds_.end() ? nullptr : &found->second;
}

}  // namespace millrace::worker

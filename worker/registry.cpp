#include "worker/registry.h"

#include <fmt/format.h>

#include "common/assert.h"

namespace millrace::worker {

void Registry::add(std::string name, Kind kind) {
  MR_ASSERT(is_name(name), "kind `{}`", name);
  kinds_.insert_or_assign(std::move(name), std::move(kind));
}

Status Registry::move(std::string_view name, const std::string& pool) {
  const auto found = kinds_.find(name);
  if (found == kinds_.end())
    return fail(ErrorCode::usage, fmt::format("there is no kind `{}`", name));
  Kind& kind = found->second;
  if (pool == kPoolLoop && !kind.can_loop())
    return fail(ErrorCode::usage, fmt::format("kind `{}` cannot run on the event loop", name));
  if (pool != kPoolLoop && !kind.handler)
    return fail(ErrorCode::usage, fmt::format("kind `{}` runs on the event loop only", name));
  kind.pool = pool;
  return {};
}

void Registry::remove_pool(std::string_view pool) {
  std::erase_if(kinds_, [&](const auto& entry) { return entry.second.pool == pool; });
}

const Kind* Registry::find(std::string_view name) const {
  const auto found = kinds_.find(name);
  return found == kinds_.end() ? nullptr : &found->second;
}

}  // namespace millrace::worker

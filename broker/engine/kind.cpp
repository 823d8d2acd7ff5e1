// What is said of kinds: by workers in their OFFER, by an operator with KIND_SET.

#include <fmt/format.h>

#include "broker/engine/core.h"
#include "common/retry.h"

namespace millrace::broker {
namespace {

void put_kind(Core& core, KindRow row) {
  core.dirty_kinds.insert(row.name);
  if (row.gone) {
    core.kinds.erase(row.name);
  } else {
    core.kinds.insert_or_assign(row.name, std::move(row));
  }
}

}  // namespace

std::optional<std::string> check_kind_options(const std::string& kind,
                                              const protocol::KindOptions& options) {
  if (options.max_attempts < 0 || options.max_attempts > kMaxAttemptsMax)
    return fmt::format("kind `{}`: max_attempts {} is not in 1 to {}, or 0 for the default", kind,
                       options.max_attempts, kMaxAttemptsMax);
  if (options.crashes_max < 0 || options.crashes_max > kMaxAttemptsMax)
    return fmt::format("kind `{}`: crashes_max {} is not in 1 to {}, or 0 for the default", kind,
                       options.crashes_max, kMaxAttemptsMax);
  if (options.timeout.count() < 0 || options.timeout > kDurationMax)
    return fmt::format("kind `{}`: timeout_ms {} is not in 0 (none) to {} (10 years)", kind,
                       options.timeout.count(), kDurationMax.count());
  return check_retry(options.retry);
}

std::optional<std::string> check_retry(const std::string& retry) {
  if (retry.empty()) return std::nullopt;
  if (retry.size() > kRetryBytesMax)
    return fmt::format("retry is {} bytes long, its limit is {}", retry.size(), kRetryBytesMax);
  const auto policy = parse_retry(retry);
  if (!policy) return policy.error().message;
  return std::nullopt;
}

const protocol::KindOptions& kind_options(const Core& core, const std::string& kind) {
  static const protocol::KindOptions standard;
  const auto found = core.kinds.find(kind);
  return found == core.kinds.end() ? standard : found->second.options;
}

void note_kinds(Core& core, const protocol::Offer& offer) {
  for (const auto& [kind, options] : offer.kind_options) {
    const auto known = core.kinds.find(kind);
    const bool decided = known != core.kinds.end() &&
                         (known->second.by_operator || known->second.options == options);
    if (decided ||
        (known == core.kinds.end() && core.kinds.size() >= core.options.limits.lanes_max))
      continue;
    put_kind(core, {.name = kind, .options = options, .by_operator = false, .gone = false});
  }
}

void on_kind_set(Core& core, const Received& command, const protocol::KindSet& set) {
  if (!is_name(set.kind))
    return core.refuse(
        command, ErrorCode::bad_request,
        fmt::format("kind `{:.80}` is no name: use 1 to 64 of a-z 0-9 . _ -", set.kind));
  if (const auto wrong = check_kind_options(set.kind, set.options))
    return core.refuse(command, ErrorCode::bad_request, *wrong);
  const std::uint64_t limit = core.options.limits.lanes_max;
  if (!set.reset && !core.kinds.contains(set.kind) && core.kinds.size() >= limit)
    return core.refuse(command, ErrorCode::too_large,
                       fmt::format("something was said of {} kinds, the limit is {} (lanes_max)",
                                   core.kinds.size(), limit));
  if (!set.reset || core.kinds.contains(set.kind))
    put_kind(core, {.name = set.kind,
                    .options = set.reset ? protocol::KindOptions{} : set.options,
                    .by_operator = !set.reset,
                    .gone = set.reset});
  core.reply(command.from, command.correlation,
             protocol::KindInfo{set.kind, kind_options(core, set.kind), !set.reset});
}

void write_kinds(Core& core) {
  for (const std::string& name : std::exchange(core.dirty_kinds, {})) {
    const auto found = core.kinds.find(name);
    core.effects.writes.kinds.push_back(
        found != core.kinds.end()
            ? found->second
            : KindRow{.name = name, .options = {}, .by_operator = false, .gone = true});
  }
}

}  // namespace millrace::broker

#include "producer/job_options.h"

#include <fmt/format.h>

#include "common/retry.h"

namespace millrace::producer {
namespace {

Status check_times(const JobOptions& options) {
  if (options.delay != Duration{} && options.at != Time{})
    return fail(ErrorCode::usage, "--delay and --at exclude each other");
  if (options.expires != Duration{} && options.expires_at != Time{})
    return fail(ErrorCode::usage, "--expires and --expires-at exclude each other");
  return {};
}

Status read_scope(const JobOptions& options, protocol::NewJob& job) {
  const bool has_ttl = options.unique_ttl != Duration{};
  if (has_ttl) job.unique_scope = UniqueScope::ttl;
  job.unique_ttl = options.unique_ttl;
  if (options.unique_scope.empty()) return {};
  if (!parse(options.unique_scope, job.unique_scope))
    return fail(ErrorCode::usage, fmt::format("--unique-scope: `{}` is none of queued, active, ttl",
                                              options.unique_scope));
  if (has_ttl && job.unique_scope != UniqueScope::ttl)
    return fail(ErrorCode::usage, fmt::format("--unique-ttl goes with the scope ttl, not with {}",
                                              options.unique_scope));
  if (!has_ttl && job.unique_scope == UniqueScope::ttl)
    return fail(ErrorCode::usage, "--unique-scope ttl needs a --unique-ttl, such as 1h");
  return {};
}

Status read_unique(const JobOptions& options, protocol::NewJob& job) {
  const bool more = !options.unique_scope.empty() || options.unique_ttl != Duration{} ||
                    !options.on_conflict.empty();
  if (options.unique_key.empty()) {
    if (!more) return {};
    return fail(ErrorCode::usage,
                "--unique-scope, --unique-ttl and --on-conflict say more of a --unique-key, and "
                "there is none");
  }
  if (options.unique_key.size() > kUniqueKeyBytesMax)
    return fail(ErrorCode::usage, fmt::format("--unique-key: {} bytes are over the limit of {}",
                                              options.unique_key.size(), kUniqueKeyBytesMax));
  job.unique_key = options.unique_key;
  if (!options.on_conflict.empty() && !parse(options.on_conflict, job.on_conflict))
    return fail(ErrorCode::usage,
                fmt::format("--on-conflict: `{}` is none of existing, reject, replace",
                            options.on_conflict));
  return read_scope(options, job);
}

}  // namespace

Status check_range(std::string_view option, std::int64_t value, std::int64_t low,
                   std::int64_t high) {
  if (value >= low && value <= high) return {};
  return fail(ErrorCode::usage,
              fmt::format("{} is {}: it must be from {} to {}", option, value, low, high));
}

Status check_retry(const std::string& retry) {
  if (retry.empty()) return {};
  if (retry.size() > kRetryBytesMax)
    return fail(ErrorCode::usage, fmt::format("--retry: {} bytes are over the limit of {}",
                                              retry.size(), kRetryBytesMax));
  if (const auto policy = parse_retry(retry); !policy)
    return fail(ErrorCode::usage, fmt::format("--retry: {}", policy.error().message));
  return {};
}

Result<int> check_count(std::string_view option, const std::optional<std::int64_t>& value) {
  if (!value) return 0;
  if (Status good = check_range(option, *value, 1, kMaxAttemptsMax); !good)
    return tl::make_unexpected(good.error());
  return static_cast<int>(*value);
}

Result<protocol::NewJob> make_job(const std::string& kind, const JobOptions& options) {
  protocol::NewJob job;
  job.kind = kind;
  if (Status good = check_range("--priority", options.priority, kPriorityMin, kPriorityMax); !good)
    return tl::make_unexpected(good.error());
  const auto max_attempts = check_count("--max-attempts", options.max_attempts);
  if (!max_attempts) return tl::make_unexpected(max_attempts.error());
  const auto crashes_max = check_count("--crashes-max", options.crashes_max);
  if (!crashes_max) return tl::make_unexpected(crashes_max.error());
  for (const Status& good :
       {check_retry(options.retry), check_times(options), read_unique(options, job)})
    if (!good) return tl::make_unexpected(good.error());
  job.priority = static_cast<int>(options.priority);
  job.max_attempts = *max_attempts;
  job.crashes_max = *crashes_max;
  job.retry = options.retry;
  job.delay = options.delay;
  job.run_at = options.at;
  job.timeout = options.timeout;
  job.expires_in = options.expires;
  job.expires_at = options.expires_at;
  return job;
}

}  // namespace millrace::producer

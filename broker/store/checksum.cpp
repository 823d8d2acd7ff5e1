#include "broker/store/checksum.h"

#include <xxhash.h>

#include <array>
#include <bit>
#include <cstddef>

namespace millrace::broker {
namespace {

/// The same bytes on every machine: eight per number, lowest first.
template <std::size_t Count>
std::uint64_t hash_numbers(const std::array<std::uint64_t, Count>& numbers) {
  if constexpr (std::endian::native == std::endian::little)
    return XXH3_64bits(numbers.data(), Count * sizeof(std::uint64_t));
  std::array<unsigned char, Count * 8> bytes{};
  std::size_t at = 0;
  for (const std::uint64_t number : numbers)
    for (int shift = 0; shift < 64; shift += 8)
      bytes[at++] = static_cast<unsigned char>(number >> shift);
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t bits(Duration duration) { return static_cast<std::uint64_t>(duration.count()); }

std::int64_t hash_payload(const Payload& payload, std::uint64_t seed) {
  return static_cast<std::int64_t>(
      XXH3_64bits_withSeed(payload.bytes.data(), payload.bytes.size(), seed));
}

/// Zero for a job that uses nothing of what version 2 added: its checksum is that of version 1.
std::uint64_t hash_additions(const JobSpec& spec) {
  constexpr int kCrashesMax = 3;
  if (spec.crashes_max == kCrashesMax && spec.retry.empty() && spec.expires_at == Time{} &&
      spec.unique_key.empty() && spec.unique_scope == UniqueScope::active)
    return 0;
  return hash_numbers<5>({static_cast<std::uint64_t>(spec.crashes_max),
                          XXH3_64bits(spec.retry.data(), spec.retry.size()),
                          bits(spec.expires_at.time_since_epoch()),
                          XXH3_64bits(spec.unique_key.data(), spec.unique_key.size()),
                          static_cast<std::uint64_t>(spec.unique_scope)});
}

}  // namespace

std::int64_t job_checksum(JobId id, const JobSpec& spec, const Payload& payload) {
  const std::array<std::uint64_t, 11> fixed = {
      id.value,
      spec.lane.value,
      static_cast<std::uint64_t>(spec.priority),
      spec.batch.value,
      spec.replay_of.value,
      static_cast<std::uint64_t>(spec.max_attempts),
      bits(spec.timeout),
      bits(spec.backoff),
      spec.absolute ? 1U : 0U,
      bits(spec.enqueued_at.time_since_epoch()),
      static_cast<std::uint64_t>(payload.form),
  };
  return hash_payload(payload, hash_numbers(fixed) ^ hash_additions(spec));
}

std::int64_t result_checksum(JobId id, const Payload& result) {
  const std::array<std::uint64_t, 2> fixed = {id.value, static_cast<std::uint64_t>(result.form)};
  return hash_payload(result, hash_numbers(fixed));
}

}  // namespace millrace::broker

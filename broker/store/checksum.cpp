#include "broker/store/checksum.h"

#include <xxhash.h>

#include <array>
#include <cstddef>

namespace millrace::broker {
namespace {

/// The same bytes on every machine: eight per number, lowest first.
template <std::size_t Count>
std::uint64_t hash_numbers(const std::array<std::uint64_t, Count>& numbers) {
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
  return hash_payload(payload, hash_numbers(fixed));
}

std::int64_t result_checksum(JobId id, const Payload& result) {
  const std::array<std::uint64_t, 2> fixed = {id.value, static_cast<std::uint64_t>(result.form)};
  return hash_payload(result, hash_numbers(fixed));
}

}  // namespace millrace::broker

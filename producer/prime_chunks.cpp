#include "producer/prime_chunks.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

namespace millrace::producer {
namespace {

constexpr std::uint64_t kJobsAimed = 256;
/// So many of the largest chunks are enough to keep some workers busy to the end.
constexpr std::uint64_t kJobsEnough = 32;

std::uint64_t chunk_for(std::uint64_t numbers) {
  if (numbers / kJobsEnough >= kChunkMax) return kChunkMax;
  return std::clamp(numbers / kJobsAimed, kChunkMin, kChunkMax);
}

/// A bound of a range: 0 … 2^63−1.
Result<std::uint64_t> parse_bound(std::string_view text) {
  std::int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = stop == text.data() + text.size() && !text.empty();
  if (whole && error == std::errc::result_out_of_range && text.front() != '-')
    return fail(ErrorCode::usage, fmt::format("`{}` is too large: the limit is {}", text,
                                              std::numeric_limits<std::int64_t>::max()));
  if (!whole || error != std::errc{})
    return fail(ErrorCode::usage, fmt::format("`{}` is no whole number", text));
  if (value < 0)
    return fail(ErrorCode::usage,
                fmt::format("`{}` is negative: primes are looked for from 0 on", text));
  return static_cast<std::uint64_t>(value);
}

}  // namespace

Result<PrimeChunks> PrimeChunks::make(std::string_view from_text, std::string_view to_text,
                                      std::uint64_t chunk, bool list) {
  const auto from = parse_bound(from_text);
  if (!from) return tl::make_unexpected(from.error());
  const auto to = parse_bound(to_text);
  if (!to) return tl::make_unexpected(to.error());
  if (*from > *to)
    return fail(ErrorCode::usage, fmt::format("FROM {} is greater than TO {}", *from, *to));
  const std::uint64_t chunk_max =
      list ? kChunkListMax : static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (chunk > chunk_max)
    return fail(ErrorCode::usage,
                fmt::format("--chunk {} is over {}, the limit{}", chunk, chunk_max,
                            list ? " with --list, so that each list fits into a result" : ""));
  if (chunk == 0) chunk = std::min(chunk_for(*to - *from), chunk_max);
  return PrimeChunks(*from, *to, chunk);
}

PrimeChunks::Chunk PrimeChunks::at(std::uint64_t index) const {
  const std::uint64_t begin = from_ + index * chunk_;
  return {begin, std::min(begin + (chunk_ - 1), to_)};
}

}  // namespace millrace::producer

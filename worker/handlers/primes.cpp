#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <primesieve.hpp>

#include "common/limits.h"
#include "worker/handlers/builtin.h"
#include "worker/handlers/fields.h"

namespace millrace::worker {
namespace {

/// A stop is noticed between slices. Each slice begins with the sieving primes up to √to, so a
/// slice is kept well above that. The least is what the producer cuts, and enough for libprimesieve
/// to be at its fastest.
constexpr std::uint64_t kSliceMin = 150'000'000;
constexpr std::uint64_t kSlicePerRoot = 8;
/// No broker takes a larger result: it would not fit a frame.
constexpr std::size_t kListBytesMax = kFrameBytesMax;
constexpr std::uint64_t kListedBetweenLooks = 1U << 16;

struct Range {
  std::uint64_t from = 0;
  std::uint64_t to = 0;  // included
};

Outcome stopped() { return Outcome::nack("cancelled: the range was not finished"); }

Outcome count_primes(JobContext& context, Range range) {
  // The pool decides how many CPUs are used; one job uses one. The setting is the whole library's
  // and not safe to write twice at once.
  [[maybe_unused]] static const bool set_once = (primesieve::set_num_threads(1), true);
  const auto root = static_cast<std::uint64_t>(std::sqrt(static_cast<double>(range.to)));
  const std::uint64_t slice = std::max(kSliceMin, kSlicePerRoot * root);
  std::uint64_t count = 0;
  for (std::uint64_t begin = range.from; begin <= range.to;) {
    if (context.cancelled()) return stopped();
    const std::uint64_t end = range.to - begin < slice ? range.to : begin + slice - 1;
    count += primesieve::count_primes(begin, end);
    begin = end + 1;
    // Between slices only: a job of one slice, as the producer cuts them, leaves no row behind.
    if (begin <= range.to) context.progress(begin - range.from, range.to - range.from + 1);
  }
  return Outcome::ack(json_payload({{"count", count}}));
}

Outcome list_primes(const JobContext& context, Range range) {
  std::string list;
  std::uint64_t count = 0;
  primesieve::iterator primes(range.from, range.to);
  for (std::uint64_t prime = primes.next_prime(); prime <= range.to; prime = primes.next_prime()) {
    if (count++ % kListedBetweenLooks == 0 && context.cancelled()) return stopped();
    fmt::format_to(std::back_inserter(list), "{}{}", list.empty() ? "" : ",", prime);
    if (list.size() > kListBytesMax)
      return Outcome::reject(fmt::format(
          "result_too_large: the primes of {} … {} take more than {} bytes; use smaller ranges",
          range.from, range.to, kListBytesMax));
  }
  return Outcome::ack(Payload::text(fmt::format(R"({{"count":{},"primes":[{}]}})", count, list)));
}

}  // namespace

Outcome run_primes(JobContext& context) {
  Fields fields(context.job().payload, R"({"from": 1, "to": 100000})");
  const std::int64_t from = fields.integer("from", 0, INT64_MAX);
  const std::int64_t to = fields.integer("to", 0, INT64_MAX);
  const bool list = fields.boolean("list", false);
  if (to < from) fields.complain(fmt::format("to is {}, it must not be below from, {}", to, from));
  if (fields.problem()) return Outcome::reject(*fields.problem());

  const Range range{static_cast<std::uint64_t>(from), static_cast<std::uint64_t>(to)};
  return list ? list_primes(context, range) : count_primes(context, range);
}

}  // namespace millrace::worker

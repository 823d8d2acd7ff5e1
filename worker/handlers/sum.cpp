#include <algorithm>
#include <cstdint>

#include "worker/handlers/builtin.h"
#include "worker/handlers/fields.h"

namespace millrace::worker {
namespace {

/// The largest n whose sum 0 … n−1 is below 2^63.
constexpr std::int64_t kCountMax = 4'294'967'296;
/// Additions between two looks at the stop token, well under a millisecond.
constexpr std::uint64_t kStepsBetweenLooks = 1U << 20;
/// A short sum tells nothing, so that it leaves no row behind. A multiple of the other.
constexpr std::uint64_t kStepsBetweenWords = 1U << 27;

}  // namespace

Outcome run_sum(JobContext& context) {
  Fields fields(context.job().payload, R"({"n": 100000000})");
  const auto count = static_cast<std::uint64_t>(fields.integer("n", 0, kCountMax));
  if (fields.problem()) return Outcome::reject(*fields.problem());

  std::uint64_t total = 0;
  for (std::uint64_t begin = 0; begin < count; begin += kStepsBetweenLooks) {
    if (context.cancelled()) return Outcome::nack("cancelled: the sum was not finished");
    if (begin > 0 && begin % kStepsBetweenWords == 0) context.progress(begin, count);
    const std::uint64_t end = std::min(count, begin + kStepsBetweenLooks);
    for (std::uint64_t i = begin; i < end; ++i) {
      total += i;
      // The point of this kind is to keep a CPU busy: without this the compiler uses the formula.
      asm volatile("" : "+r"(total));
    }
  }
  return Outcome::ack(json_payload({{"sum", total}}));
}

}  // namespace millrace::worker

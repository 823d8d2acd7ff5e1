#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "common/types.h"

namespace millrace::simulation {

/// Random choices that depend on the seed alone, on every machine and library: SplitMix64 (Steele,
/// Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
class SimRandom {
 public:
  explicit SimRandom(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    std::uint64_t x = state_;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
  }
  /// 0 … count−1; `count` is at least 1.
  std::uint64_t below(std::uint64_t count) { return next() % count; }
  /// In [0, 1).
  double real() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  bool chance(double probability) { return real() < probability; }
  /// Both ends included.
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low) + 1));
  }
  Duration between(Duration low, Duration high) {
    return Duration{between(low.count(), high.count())};
  }
  /// Every order of magnitude between the two is as likely; `low` is at least 1 ms.
  Duration spread(Duration low, Duration high) {
    const double ratio = static_cast<double>(high.count()) / static_cast<double>(low.count());
    return Duration{
        static_cast<std::int64_t>(static_cast<double>(low.count()) * std::pow(ratio, real()))};
  }
  /// How long until the next of events that come `mean` apart on average; at least 1 ms.
  Duration wait_for(Duration mean) {
    return Duration{
        1 + static_cast<std::int64_t>(-std::log(1.0 - real()) * static_cast<double>(mean.count()))};
  }
  template <class Items>
  auto& pick(Items& items) {
    return items[below(items.size())];
  }

 private:
  std::uint64_t state_;
};

}  // namespace millrace::simulation

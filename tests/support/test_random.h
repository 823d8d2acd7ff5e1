#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

namespace millrace {

/// Seeds of a random test: the one of --gtest_random_seed or MILLRACE_TEST_SEED when that is given,
/// to replay a failure, else 1 … `count`.
[[nodiscard]] inline std::vector<std::uint64_t> test_seeds(std::uint64_t count) {
  if (const int seed = GTEST_FLAG_GET(random_seed); seed != 0)
    return {static_cast<std::uint64_t>(seed)};
  if (const char* seed = std::getenv("MILLRACE_TEST_SEED"); seed != nullptr)
    return {std::strtoull(seed, nullptr, 10)};
  if (const char* more = std::getenv("MILLRACE_TEST_SEEDS"); more != nullptr)
    count = std::strtoull(more, nullptr, 10);
  std::vector<std::uint64_t> seeds;
  for (std::uint64_t seed = 1; seed <= count; ++seed) seeds.push_back(seed);
  return seeds;
}

/// Random choices that depend on the seed alone.
class TestRandom {
 public:
  explicit TestRandom(std::uint64_t seed) : engine_(seed) {}
  /// 0 … count−1
  std::uint64_t below(std::uint64_t count) { return engine_() % count; }
  bool chance(std::uint64_t percent) { return below(100) < percent; }
  template <class Items>
  auto& pick(Items& items) {
    return items[below(items.size())];
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace millrace

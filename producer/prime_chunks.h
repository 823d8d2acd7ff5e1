#pragma once

#include <cstdint>
#include <string_view>

#include "common/errors.h"

namespace millrace::producer {

inline constexpr std::uint64_t kChunkMin = 10'000;
/// libprimesieve takes a fifth less time when it is given this many numbers at once: it then makes
/// larger tables to begin with (docs/adr/0015-chunks-of-primes.md).
inline constexpr std::uint64_t kChunkMax = 150'000'000;
/// With a list: 50,000 numbers hold at most 5,133 primes, far less than a result may carry.
inline constexpr std::uint64_t kChunkListMax = 50'000;

/// A range of numbers, both ends included, cut into jobs of `chunk` numbers each.
class PrimeChunks {
 public:
  struct Chunk {
    std::uint64_t from = 0;
    std::uint64_t to = 0;
  };

  /// Reads the ends as people write them; `chunk` 0 chooses one by the size of the range.
  /// Errors: usage.
  [[nodiscard]] static Result<PrimeChunks> make(std::string_view from, std::string_view to,
                                                std::uint64_t chunk, bool list);

  [[nodiscard]] std::uint64_t count() const { return (to_ - from_) / chunk_ + 1; }
  [[nodiscard]] Chunk at(std::uint64_t index) const;
  [[nodiscard]] std::uint64_t chunk() const { return chunk_; }

 private:
  PrimeChunks(std::uint64_t from, std::uint64_t to, std::uint64_t chunk)
      : from_(from), to_(to), chunk_(chunk) {}

  std::uint64_t from_;
  std::uint64_t to_;
  std::uint64_t chunk_;
};

}  // namespace millrace::producer

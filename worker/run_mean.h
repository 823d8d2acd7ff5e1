#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace millrace::worker {

/// How long runs take of late. A long one is believed at once, a short one only after many like it:
/// to expect too much of a slot keeps jobs from other slots, too little costs a round trip.
class RunMean {
 public:
  void add(std::chrono::microseconds run) {
    const double sample = std::max<double>(1.0, static_cast<double>(run.count()));
    const double weight = sample > mean_ ? kWeightLonger : kWeightShorter;
    mean_ = mean_ == 0 ? sample : mean_ + (sample - mean_) * weight;
  }
  /// 0: nothing is known.
  [[nodiscard]] double micros() const { return mean_; }
  /// How many fit into `span`; at least 1, and 1 while nothing is known.
  [[nodiscard]] std::size_t within(std::chrono::microseconds span) const {
    if (mean_ == 0) return 1;
    return std::max<std::size_t>(
        1, static_cast<std::size_t>(static_cast<double>(span.count()) / mean_));
  }

 private:
  static constexpr double kWeightLonger = 0.3;
  static constexpr double kWeightShorter = 0.05;

  double mean_ = 0;
};

}  // namespace millrace::worker

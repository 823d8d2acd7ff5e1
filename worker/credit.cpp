#include "worker/credit.h"

#include <algorithm>

#include "common/assert.h"

namespace millrace::worker {
namespace {

// A long run is believed at once, a short one only after many like it: too much prefetch keeps jobs
// from other workers, too little costs a round trip.
constexpr double kWeightLonger = 0.3;
constexpr double kWeightShorter = 0.05;

}  // namespace

void Credit::forget_numbers() {
  known_ = false;
  delivered_ = 0;
  upto_ = 0;
  told_ = 0;
}

void Credit::learn_numbers(std::uint64_t delivered) {
  known_ = true;
  delivered_ = delivered;
  upto_ = 0;
  told_ = 0;  // a CREDIT sent before may have gone to the session's earlier connection
  raise();
}

void Credit::deliver(std::uint64_t number) {
  delivered_ = std::max(delivered_, number);
  ++held_;
}

void Credit::finish() {
  MR_ASSERT(held_ > 0);
  --held_;
}

void Credit::measure(std::chrono::microseconds run) {
  const double sample = std::max<double>(1.0, static_cast<double>(run.count()));
  const double weight = sample > run_mean_ ? kWeightLonger : kWeightShorter;
  run_mean_ = run_mean_ == 0 ? sample : run_mean_ + (sample - run_mean_) * weight;
  const double span = std::chrono::duration<double, std::micro>(kPrefetchSpan).count();
  const double wanted = static_cast<double>(slots_) * span / run_mean_;
  // One more per run at most, so that the first quick job does not draw a thousand slow ones.
  prefetch_ = std::min({static_cast<std::uint64_t>(std::min(wanted, 1e9)), prefetch_ + 1,
                        static_cast<std::uint64_t>(kPrefetchMax)});
}

void Credit::raise() {
  if (!known_) return;
  const std::uint64_t wanted = delivered_ + window();
  if (wanted > held_) upto_ = std::max(upto_, wanted - held_);
}

std::optional<std::uint64_t> Credit::upto() const {
  return known_ ? std::optional(upto_) : std::nullopt;
}

bool Credit::is_due() const {
  const std::uint64_t beyond_slots = window() - std::min(window(), slots_);
  return known_ && upto_ > told_ + beyond_slots / 4;
}

std::size_t Credit::runs_within(std::chrono::microseconds span) const {
  if (run_mean_ == 0) return 1;
  return std::max<std::size_t>(
      1, static_cast<std::size_t>(static_cast<double>(span.count()) / run_mean_));
}

std::uint64_t Credit::window() const { return std::min(slots_ + prefetch_, window_max_); }

}  // namespace millrace::worker

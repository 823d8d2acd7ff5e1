#include "worker/credit.h"

#include <algorithm>

#include "common/assert.h"

namespace millrace::worker {
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

void Credit::answer() {
  finish();
  ++unsettled_;
}

void Credit::settle() {
  MR_ASSERT(unsettled_ > 0);
  --unsettled_;
}

void Credit::finish() {
  MR_ASSERT(held_ > 0);
  --held_;
}

void Credit::measure(std::chrono::microseconds run) {
  run_mean_.add(run);
  const double span = std::chrono::duration<double, std::micro>(kPrefetchSpan).count();
  const double wanted = static_cast<double>(slots_) * span / run_mean_.micros();
  // One more per run at most, so that the first quick job does not draw a thousand slow ones.
  prefetch_ = std::min({static_cast<std::uint64_t>(std::min(wanted, 1e9)), prefetch_ + 1,
                        static_cast<std::uint64_t>(kPrefetchMax)});
}

void Credit::raise() {
  if (!known_) return;
  const std::uint64_t wanted = delivered_ + window();
  const std::uint64_t held = held_ + (unsettled_ > window() ? unsettled_ - window() : 0);
  if (wanted > held) upto_ = std::max(upto_, wanted - held);
}

std::optional<std::uint64_t> Credit::upto() const {
  return known_ ? std::optional(upto_) : std::nullopt;
}

bool Credit::is_due() const {
  const std::uint64_t beyond_slots = window() - std::min(window(), slots_);
  return known_ && upto_ > told_ + beyond_slots / 4;
}

std::uint64_t Credit::window() const { return std::min(slots_ + prefetch_, window_max_); }

}  // namespace millrace::worker

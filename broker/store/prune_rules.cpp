#include "broker/store/prune_rules.h"

#include <algorithm>

#include "common/util/mutants.h"

namespace millrace::broker {
namespace {

using instrument::Mutant;
using instrument::planted;

bool has_too_much(const LanePrune& lane, std::size_t slot) {
  return lane.jobs.at(slot) != 0 || lane.bytes.at(slot) != 0;
}

}  // namespace

PruneRules::PruneRules(const Prune& prune)
    : jobs_max_(prune.jobs_max), bytes_max_(prune.bytes_max) {
  for (const LanePrune& lane : prune.lanes) {
    lanes_[lane.lane] = lane;
    for (std::size_t slot = 0; slot < kJobStateCount; ++slot)
      if (has_too_much(lane, slot)) ++excess_;
  }
}

bool PruneRules::takes(LaneId lane, JobState state, Time finished_at) const {
  if (!is_final(state)) return planted(Mutant::prune_open) && lanes_.contains(lane);
  const auto found = lanes_.find(lane);
  if (found == lanes_.end()) return false;
  const auto slot = static_cast<std::size_t>(state);
  return finished_at < found->second.finished_before.at(slot) || has_too_much(found->second, slot);
}

void PruneRules::take(LaneId lane, JobState state, std::uint64_t bytes, std::uint64_t more_bytes) {
  const auto slot = static_cast<std::size_t>(state);
  LanePrune& left = lanes_.at(lane);
  const bool had_too_much = has_too_much(left, slot);
  if (left.jobs.at(slot) != 0) --left.jobs.at(slot);
  left.bytes.at(slot) -= std::min(left.bytes.at(slot), bytes);
  if (had_too_much && !has_too_much(left, slot)) --excess_;

  LaneDelta& delta = deltas_[lane];
  delta.id = lane;
  --delta.deltas.at(slot);
  delta.bytes.at(slot) -= static_cast<std::int64_t>(bytes);
  ++jobs_;
  bytes_ += bytes + more_bytes;
}

bool PruneRules::is_full() const {
  return jobs_ >= jobs_max_ || (jobs_ != 0 && bytes_ >= bytes_max_);
}

std::vector<LaneDelta> PruneRules::deltas() const {
  std::vector<LaneDelta> deltas;
  deltas.reserve(deltas_.size());
  for (const auto& [lane, delta] : deltas_) deltas.push_back(delta);
  return deltas;
}

}  // namespace millrace::broker

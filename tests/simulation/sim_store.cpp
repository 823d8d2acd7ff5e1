#include "tests/simulation/sim_store.h"

namespace millrace::simulation {

void SimMemoryStore::open() { store_ = std::make_unique<broker::MemoryStore>(std::move(disk_)); }

void SimMemoryStore::die(Death, SimRandom&) {
  disk_ = store_->durable();
  store_.reset();
}

void SimMemoryStore::fail_commit(SimRandom& random) {
  using Fate = broker::MemoryStore::Fate;
  store_->fail_commit(1, ErrorCode::storage_failed, random.chance(0.5) ? Fate::lost : Fate::kept);
}

}  // namespace millrace::simulation

#pragma once

#include <memory>

#include "broker/store/memory_store.h"
#include "broker/store/query.h"
#include "broker/store/store.h"
#include "tests/simulation/sim_random.h"

namespace millrace::simulation {

/// What a broker keeps its jobs in, over all its lives.
class SimStore {
 public:
  enum class Death : std::uint8_t {
    process,  ///< kill -9: what was written stays
    power,    ///< what was not synced is lost in part
  };

  virtual ~SimStore() = default;
  SimStore() = default;
  SimStore(const SimStore&) = delete;
  SimStore& operator=(const SimStore&) = delete;

  /// Opens what is there. May throw StoreError.
  virtual void open() = 0;
  [[nodiscard]] virtual broker::Store& store() = 0;
  [[nodiscard]] virtual broker::Query& query() = 0;
  /// The broker's process ends, with or without the machine.
  virtual void die(Death death, SimRandom& random) = 0;
  /// The power goes at some operation of what the store does next; it then throws StoreError.
  virtual void lose_power_soon(SimRandom& random) = 0;
  /// The next commit throws storage_failed; whether its writes are found later is open.
  virtual void fail_commit(SimRandom& random) = 0;
  /// Everything that is stored; of an open store.
  [[nodiscard]] virtual const broker::MemoryState& rows() = 0;
};

/// Loses nothing that was committed and keeps nothing that was not.
class SimMemoryStore final : public SimStore {
 public:
  void open() override;
  broker::Store& store() override { return *store_; }
  broker::Query& query() override { return *store_; }
  void die(Death death, SimRandom& random) override;
  void lose_power_soon(SimRandom&) override {}
  void fail_commit(SimRandom& random) override;
  const broker::MemoryState& rows() override { return store_->durable(); }

 private:
  broker::MemoryState disk_;
  std::unique_ptr<broker::MemoryStore> store_;
};

}  // namespace millrace::simulation

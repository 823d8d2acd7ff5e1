#pragma once

#include <memory>
#include <string>

#include "broker/store/sqlite_query.h"
#include "broker/store/sqlite_store.h"
#include "tests/simulation/powerloss_vfs.h"
#include "tests/simulation/sim_store.h"

namespace millrace::simulation {

/// The real SqliteStore on a disk that loses and tears what was not synced.
class PowerlossStore final : public SimStore {
 public:
  /// `synchronous` as in SqliteOptions.
  PowerlossStore(std::uint64_t seed, int synchronous);
  ~PowerlossStore() override;

  void open() override;
  broker::Store& store() override { return *store_; }
  broker::Query& query() override;
  void die(Death death, SimRandom& random) override;
  void lose_power_soon(SimRandom& random) override;
  void fail_commit(SimRandom&) override { disk_.fail_sync(1); }
  const broker::MemoryState& rows() override;

 private:
  PowerDisk disk_;
  int synchronous_;
  std::string path_;
  std::unique_ptr<broker::SqliteStore> store_;
  std::unique_ptr<broker::SqliteQuery> query_;
  broker::MemoryState rows_;
};

}  // namespace millrace::simulation

// The faults of MemoryStore.

#include "tests/contract/store_contract.h"

namespace millrace::broker::testing {
namespace {

class MemoryStoreFaults : public ::testing::Test {
 protected:
  MemoryStoreFaults() {
    store_.start();
    WriteBatch batch;
    batch.lanes = {{kLane, "default", "sum", {}}};
    store_.commit(batch);
  }
  std::uint64_t last_job_after_crash() {
    MemoryStore after(store_.durable());
    return after.start().last_job.value;
  }
  MemoryStore store_;
};

TEST_F(MemoryStoreFaults, TheCommitAskedForFailsAndIsLost) {
  store_.fail_commit(2, ErrorCode::storage_failed);

  put(store_, {ready_job(1)});
  EXPECT_EQ(thrown_code([&] { put(store_, {ready_job(2)}); }), ErrorCode::storage_failed);

  EXPECT_EQ(last_job_after_crash(), 1U);
}

TEST_F(MemoryStoreFaults, AFailedCommitMayStillBeOnTheDisk) {
  store_.fail_commit(1, ErrorCode::storage_failed, MemoryStore::Fate::kept);

  EXPECT_THROW(put(store_, {ready_job(1)}), StoreError);

  EXPECT_EQ(last_job_after_crash(), 1U);
}

TEST_F(MemoryStoreFaults, AFullDiskTakesOneMoreCommit) {
  store_.fill_disk();

  put(store_, {ready_job(1)});
  EXPECT_EQ(thrown_code([&] { put(store_, {ready_job(2)}); }), ErrorCode::storage_failed);

  EXPECT_EQ(last_job_after_crash(), 1U);
  EXPECT_EQ(store_.commits(), 2U);
}

}  // namespace
}  // namespace millrace::broker::testing

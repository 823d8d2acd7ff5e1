#pragma once

// The suite that every Store and Query passes, and what its tests are written with. A back end
// gives a store, a query on the same data, and a restart.

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker/store/memory_store.h"
#include "broker/store/sqlite_query.h"
#include "broker/store/sqlite_store.h"

namespace millrace::broker::testing {

/// A folder that is removed with all it holds.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// Without fsync and ballast: these tests do not pull the plug.
[[nodiscard]] SqliteOptions fast_options(const std::string& path);

class SqliteBackend {
 public:
  SqliteBackend() { reopen(); }
  Store& store() { return *store_; }
  Query& query();
  /// Stops and starts; the store is not started yet.
  void reopen();

 private:
  TempFolder folder_;
  std::unique_ptr<SqliteQuery> query_;
  std::unique_ptr<SqliteStore> store_;
};

class MemoryBackend {
 public:
  MemoryBackend() : store_(std::make_unique<MemoryStore>()) {}
  Store& store() { return *store_; }
  Query& query() { return *store_; }
  void reopen() { store_ = std::make_unique<MemoryStore>(store_->durable()); }

 private:
  std::unique_ptr<MemoryStore> store_;
};

[[nodiscard]] Time at(std::int64_t ms);
inline constexpr LaneId kLane{1};
inline constexpr std::int64_t kEnqueuedAt = 1'700'000'000'000;

/// A ready job of `kLane`, batch 1.
[[nodiscard]] JobInsert ready_job(std::uint64_t id);
[[nodiscard]] JobInsert scheduled_job(std::uint64_t id, std::int64_t run_at);
[[nodiscard]] JobInsert leased_job(std::uint64_t id, std::uint64_t lease);
/// From what `job` is now to `state` under the same lease.
[[nodiscard]] JobUpdate change(const JobInsert& job, JobState state);
/// Ends `job` as `state`, as the `seq`th of all, `finished_at` ms after kEnqueuedAt.
[[nodiscard]] JobUpdate finish(const JobInsert& job, JobState state, std::uint64_t seq,
                               std::int64_t finished_at = 1000);
[[nodiscard]] std::vector<std::uint64_t> ids(const std::vector<JobRecord>& jobs);
[[nodiscard]] std::vector<std::uint64_t> ids(const std::vector<protocol::JobInfo>& jobs);
/// Adds the counters that inserts and updates of `batch` change.
void count(WriteBatch& batch, const std::vector<JobInsert>& known = {});
/// Writes jobs with their counters.
void put(Store& store, std::vector<JobInsert> jobs);
void put(Store& store, const std::vector<JobInsert>& known, std::vector<JobUpdate> updates);

/// A step in which all ended jobs of both lanes go that ended before `finished_before`.
[[nodiscard]] Prune prune_by_age(Time finished_before, std::size_t jobs_max = 10);

/// Bytewise comparison of all there is in a record.
void expect_same(const JobInsert& written, const JobRecord& read);

/// What `act` throws; a test failure when it throws nothing.
template <class Act>
std::optional<ErrorCode> thrown_code(const Act& act) {
  try {
    act();
  } catch (const StoreError& error) {
    return error.code();
  }
  ADD_FAILURE() << "no StoreError";
  return std::nullopt;
}

/// A started store with the lanes 1 (default, sum) and 2 (mail, sum).
template <class Backend>
class StoreContract : public ::testing::Test {
 protected:
  StoreContract() {
    store().start();
    WriteBatch batch;
    batch.lanes = {{LaneId{1}, "default", "sum", {}}, {LaneId{2}, "mail", "sum", {}}};
    store().commit(batch);
  }
  Store& store() { return backend_.store(); }
  Query& query() { return backend_.query(); }
  Snapshot restart() {
    backend_.reopen();
    return store().start();
  }
  template <class Answer, class Request>
  Answer load(Request request) {
    return std::get<Answer>(store().load(request));
  }

 private:
  Backend backend_;
};

using Backends = ::testing::Types<SqliteBackend, MemoryBackend>;
struct BackendNames {
  template <class Backend>
  static std::string GetName(int) {
    return std::is_same_v<Backend, SqliteBackend> ? "Sqlite" : "Memory";
  }
};

}  // namespace millrace::broker::testing

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "broker/store/job_filter.h"
#include "broker/store/query.h"
#include "broker/store/store.h"

namespace millrace::broker {

/// What a MemoryStore has on its "disk"; a copy of it is what survives a crash.
struct MemoryState {
  struct Job {
    JobRecord record;
    Payload result;
  };

  std::uint64_t epoch = 0;
  JobId last_job;
  FinishSeq last_finish;
  WorkerId last_worker;
  OutputSeq last_output;
  std::map<LaneId, LaneRow> lanes;
  std::map<std::string, QueueRow> queues;
  std::map<BatchId, BatchRow> batches;
  std::map<WorkerId, WorkerRow> workers;
  std::map<RequestId, RequestRow> requests;
  std::map<JobId, Job> jobs;
  std::map<std::pair<JobId, int>, AttemptRow> attempts;
  std::map<std::string, KindRow> kinds;
  std::map<std::pair<std::string, std::string>, UniqueRow> unique;  ///< by queue and key
  std::map<OutputSeq, OutputRow> outputs;
  // Indexes over `jobs`.
  std::set<std::tuple<LaneId, int, JobId>> ready;
  std::set<std::pair<Time, JobId>> scheduled;
  std::set<std::tuple<BatchId, FinishSeq, JobId>> ended;
  std::set<std::pair<Time, JobId>> expiring;
  std::set<std::pair<JobId, OutputSeq>> job_outputs;  ///< over `outputs`
};

/// The store of tests: the same contract as SqliteStore without a disk, and with faults on demand.
/// Also answers queries about what is committed. One thread makes, uses and destroys it.
class MemoryStore final : public Store, public Query {
 public:
  explicit MemoryStore(MemoryState state = {}) : state_(std::move(state)) {}

  Snapshot start() override;
  void commit(const WriteBatch& batch) override;
  Loaded load(const Load& load) override;
  std::vector<Payload> payloads(std::span<const JobId> ids) override;
  std::uint64_t free_bytes() override { return disk_full_ ? 0 : std::uint64_t{1} << 40; }
  void maintain() override;

  ResultsRead results(const ReadResults& read) override;
  protocol::Page page(const protocol::List& list) override;
  std::optional<protocol::Item> item(const protocol::Show& show) override;
  JobRead job(const ReadJob& read) override;

  // ---- faults

  /// What a crash at this moment leaves: `MemoryStore after(before.durable())`.
  [[nodiscard]] const MemoryState& durable() const { return state_; }
  /// Whether the writes of a commit that failed are found after the restart.
  enum class Fate : std::uint8_t { lost, kept };
  /// The `nth` commit from now on (1: the next) throws `code`.
  void fail_commit(std::uint64_t nth, ErrorCode code, Fate fate = Fate::lost);
  /// The disk stays full from now on. The first commit still finds room (the ballast), the second
  /// one throws storage_failed.
  void fill_disk() { disk_full_ = true; }
  /// Commits that succeeded.
  [[nodiscard]] std::uint64_t commits() const { return commits_; }

 private:
  struct Fault {
    std::uint64_t in = 0;
    ErrorCode code = ErrorCode::storage_failed;
    Fate fate = Fate::lost;
  };

  template <class Work>
  auto guarded(const Work& work);

  void check(const WriteBatch& batch) const;
  void check_jobs(const WriteBatch& batch) const;
  void check_deltas(const WriteBatch& batch) const;
  void check_unique(const WriteBatch& batch) const;
  void check_outputs(const WriteBatch& batch) const;
  void apply(const WriteBatch& batch);
  void apply_names(const WriteBatch& batch);
  void apply_marks(const WriteBatch& batch);
  void insert(const JobInsert& job);
  void update(const JobUpdate& job);
  void apply_deltas(const std::vector<LaneDelta>& deltas);
  void add_to_indexes(const JobRecord& job);
  void remove_from_indexes(const JobRecord& job);
  void throw_if_full();
  void throw_if_due(const WriteBatch& batch);

  Loaded answer(const LoadReady& load) const;
  Loaded answer(const LoadScheduled& load) const;
  Loaded answer(const LoadJobs& load) const;
  Loaded answer(const LoadRequest& load) const;
  Loaded answer(const LoadBatch& load) const;
  Loaded answer(const LoadUnique& load) const;
  Loaded answer(const LoadExpired& load) const;
  Loaded answer(const Prune& prune);
  [[nodiscard]] std::vector<BatchRow> batches_of(const std::vector<JobRecord>& jobs) const;
  [[nodiscard]] std::vector<OutputRow> outputs_of(JobId job) const;
  Pruned prune_jobs(const Prune& prune);
  bool prune_unique(const Prune& prune);
  void erase_job(JobId id);
  void prune_batches(const Prune& prune, const std::set<BatchId>& batches);
  void prune_workers(const Prune& prune);
  [[nodiscard]] std::optional<BatchRow> batch(BatchId id) const;
  [[nodiscard]] protocol::ResultRow result_row(const MemoryState::Job& job) const;
  [[nodiscard]] protocol::JobInfo info(const MemoryState::Job& job, bool payloads) const;
  void job_page(const protocol::List& list, protocol::Page& page) const;
  void batch_page(const protocol::List& list, protocol::Page& page) const;

  MemoryState state_;
  bool started_ = false;
  bool failed_ = false;
  bool disk_full_ = false;
  bool ballast_ = true;
  std::uint64_t commits_ = 0;
  std::optional<Fault> fault_;
};

}  // namespace millrace::broker

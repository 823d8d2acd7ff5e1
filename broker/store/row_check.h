#pragma once

// What must hold between the rows of a database, whoever keeps them: written once, for the tests'
// accounting (over the rows in memory), for `millrace-broker db check` and for millrace-audit (over
// a file). A new column, or a new reason for a state, brings its rule here.

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "broker/engine/records.h"

namespace millrace::broker {

/// One contradiction. `rule` is a word that scripts may rely on, `text` a sentence for people.
struct Violation {
  std::string rule;
  std::string text;
};
using ViolationSink = std::function<void(Violation)>;

struct RowCheckOptions {
  /// Compare the wall-clock times of a job's runs. Setting the clock while a broker runs makes them
  /// contradict each other without any harm.
  bool times = true;
  /// Every job that ever was must be there: retention has removed none.
  bool complete = false;
};

/// The row of `meta`.
struct Marks {
  std::uint64_t epoch = 0;
  JobId last_job;
  FinishSeq last_finish;
  OutputSeq last_output;
};

/// Takes all rows once and tells every contradiction. Memory: a few words for each batch, request,
/// unique key, job and run with output. One thread.
class RowCheck {
 public:
  RowCheck(const Marks& marks, RowCheckOptions options, ViolationSink sink);

  // ---- first these, in any order
  void add(const LaneRow& lane);
  void add(const QueueRow& queue);
  void add(const BatchRow& batch);
  void add(const WorkerRow& worker);
  void add(const RequestRow& request);
  void add(const UniqueRow& key);
  /// Then each job, with the rows of its runs in the order of their numbers.
  void add(const JobRecord& job, const Payload& result, std::span<const AttemptRow> runs);
  /// Runs whose job is not there.
  void add_orphan(const AttemptRow& run);
  /// Then what runs left behind, in the order of `seq`. `data` may be left out.
  void add(const OutputRow& output);
  /// At last: what only all rows together can tell.
  void finish();

 private:
  struct LaneSeen {
    LaneRow row;
    StateCounts rows{};
    StateBytes bytes{};
  };
  struct BatchSeen {
    BatchRow row;
    StateCounts rows{};
  };

  template <class... Values>
  void require(bool holds, const char* rule, const char* text, const Values&... values);

  void check_names(const JobRecord& job);
  void check_end(const JobRecord& job);
  void check_lease(const JobRecord& job);
  void check_counters(const JobRecord& job);
  void check_runs(const JobRecord& job, std::span<const AttemptRow> runs);
  void check_times(const JobRecord& job, std::span<const AttemptRow> runs);
  void check_outcome(const JobRecord& job, bool has_result, std::span<const AttemptRow> runs);
  void check_key(const JobRecord& job);
  void check_lane(const LaneSeen& lane);
  void check_batch(const BatchSeen& batch);
  void check_ends();
  void check_requests();

  const Marks marks_;
  const RowCheckOptions options_;
  const ViolationSink sink_;
  std::map<LaneId, LaneSeen> lanes_;
  std::map<std::string, std::uint64_t, std::less<>> queue_open_;  ///< open jobs of each queue
  std::vector<QueueRow> queues_;
  std::map<BatchId, BatchSeen> batches_;
  std::set<WorkerId> workers_;
  std::vector<RequestRow> requests_;
  std::map<LeaseId, JobId> leases_;                                ///< those that are open
  std::map<std::pair<std::string, std::string>, UniqueRow> keys_;  ///< not seen with their job
  std::set<JobId> jobs_;
  std::map<std::pair<JobId, LeaseId>, std::uint64_t> outputs_;  ///< highest number of each run
  std::vector<std::pair<FinishSeq, JobId>> ends_;
  JobId last_;
};

}  // namespace millrace::broker

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "broker/store/job_filter.h"
#include "broker/store/query.h"
#include "broker/store/sqlite.h"
#include "common/util/thread.h"

namespace millrace::broker {

struct SqliteQueryOptions {
  std::string path;
  /// Longest time a page may take; it then comes back shorter, with `next` set.
  Duration page_time_max{250};
  /// For tests only: a file system shim.
  std::string vfs{};
};

/// Reads the file of a running SqliteStore over a connection of its own that can neither write nor
/// checkpoint. Made, used and destroyed on the thread `mr-read`. Payloads and results are verified
/// whenever they are read; a damaged one fails `page`, `item` and `job` with `corrupt`, naming the
/// job, and stands as an error in its row of `results`, so that one bad sector does not stop the
/// stream.
class SqliteQuery final : public Query {
 public:
  /// Throws storage_failed, foreign_file. The store must have made the file before.
  explicit SqliteQuery(SqliteQueryOptions options);
  ~SqliteQuery() override;

  ResultsRead results(const ReadResults& read) override;
  protocol::Page page(const protocol::List& list) override;
  std::optional<protocol::Item> item(const protocol::Show& show) override;
  JobRead job(const ReadJob& read) override;

 private:
  struct Statements;
  struct Candidates;
  class PageBuilder;
  using LaneNames = std::pair<std::string, std::string>;  ///< queue and kind

  template <class Work>
  auto read(const Work& work);

  void job_page(const protocol::List& list, protocol::Page& page);
  void batch_page(const protocol::List& list, protocol::Page& page);
  bool walk(const IdRange& range, bool newest_first, PageBuilder& builder);
  std::optional<Candidates> find_candidates(const protocol::List& list, const JobMatcher& matcher,
                                            const IdRange& range);
  bool is_in_index(BatchId id, const JobMatcher& matcher);
  bool is_in_short_indexes(const JobMatcher& matcher);
  void take_open(const JobMatcher& matcher, const IdRange& range,
                 const std::function<void(std::uint64_t)>& take);

  protocol::ResultRow result_row(const sqlite::Rows& rows);
  void read_result(const ReadJob& read, JobRead& answer);
  void read_outputs(const ReadJob& read, JobRead& answer);
  FinishSeq last_finish();
  std::vector<LaneId> lanes(const protocol::JobFilter& filter);
  std::optional<FilterRow> filter_row(JobId id);
  std::optional<protocol::JobInfo> job_info(JobId id, bool payloads);
  const LaneNames& lane_names(LaneId id);
  std::string worker_name(WorkerId id);
  std::vector<protocol::AttemptInfo> attempts(const protocol::JobInfo& job);
  std::optional<BatchRow> batch(BatchId id);

  const SqliteQueryOptions options_;
  ThreadOwner owner_;
  sqlite::Connection connection_;
  std::unique_ptr<Statements> statements_;
  std::unordered_map<LaneId, LaneNames> lane_names_;  ///< lanes never change
};

}  // namespace millrace::broker

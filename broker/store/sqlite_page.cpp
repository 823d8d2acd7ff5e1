// SqliteQuery: a page of jobs. The jobs of a page come from one of three places, whichever is
// shortest: the ids the filter names, an index that holds only jobs it can select, or a walk over
// the ids. Wherever the page stops, `next` is the last id that was looked at.

#include <algorithm>

#include "broker/store/sqlite_query_parts.h"
#include "common/util/clock.h"

namespace millrace::broker {
namespace {

/// An index with more entries than this is not read as a whole for one page.
constexpr std::uint64_t kIndexEntriesMax = 500'000;
/// Candidates kept for one page, for each row it may have.
constexpr std::size_t kCandidatesPerRow = 4;
/// A page with payloads still has to fit a frame.
constexpr std::size_t kPageBytesMax = 2 * kMiB;

FilterRow read_filter_row(const sqlite::Rows& rows) {
  FilterRow row;
  row.id = rows.id<JobId>(0);
  row.state = checked_state(row.id, rows.integer(1));
  row.lane = rows.id<LaneId>(2);
  row.batch = rows.id<BatchId>(3);
  row.enqueued_at = rows.time(4);
  row.finished_at = rows.time(5);
  row.unique_key = rows.text(6);
  return row;
}

/// The ids a page meets first, out of any number.
class FirstIds {
 public:
  FirstIds(std::size_t ids_max, bool newest_first) : ids_max_(ids_max), falling_(newest_first) {}

  void add(std::uint64_t id) {
    ids_.push_back(id);
    if (ids_.size() >= 2 * ids_max_) cut();
  }
  void cut() {
    const auto before = [this](std::uint64_t a, std::uint64_t b) {
      return falling_ ? a > b : a < b;
    };
    std::sort(ids_.begin(), ids_.end(), before);
    if (ids_.size() <= ids_max_) return;
    ids_.resize(ids_max_);
    more_ = true;
  }
  [[nodiscard]] std::vector<std::uint64_t>& ids() { return ids_; }
  [[nodiscard]] bool more() const { return more_; }

 private:
  std::vector<std::uint64_t> ids_;
  std::size_t ids_max_;
  bool falling_;
  bool more_ = false;
};

}  // namespace

bool is_time_up(std::size_t looked_at, Instant deadline) {
  constexpr std::size_t kLooksBetween = 128;
  return looked_at % kLooksBetween == 0 && read_clocks().mono >= deadline;
}

bool SqliteQuery::PageBuilder::consider(const FilterRow& job) {
  last_ = job.id.value;
  ++looked_at_;
  if (matcher_.matches(job)) {
    if (auto info = fetch_(job.id)) {
      bytes_ += info->payload.size() + info->result.size() + info->error.size();
      page_.jobs.push_back(std::move(*info));
    }
  }
  return page_.jobs.size() < rows_max_ && bytes_ < kPageBytesMax &&
         !is_time_up(looked_at_, deadline_);
}

void SqliteQuery::job_page(const protocol::List& list, protocol::Page& page) {
  const JobMatcher matcher(list.filter, lanes(list.filter));
  IdRange range = range_of(list);
  // The id of a batch is that of its first job.
  if (list.filter.batch) range.low = std::max(range.low, list.filter.batch.value - 1);
  PageBuilder builder(
      page, matcher, [&](JobId id) { return job_info(id, list.payloads); }, rows_of(list),
      read_clocks().mono + options_.page_time_max);

  const auto candidates = find_candidates(list, matcher, range);
  if (!candidates) {
    if (!walk(range, list.newest_first, builder)) page.next = builder.last();
    return;
  }
  for (const std::uint64_t id : candidates->ids) {
    const auto job = filter_row(JobId{id});
    if (job && !builder.consider(*job)) {
      page.next = id;
      return;
    }
  }
  if (candidates->more) page.next = candidates->ids.back();
}

bool SqliteQuery::walk(const IdRange& range, bool newest_first, PageBuilder& builder) {
  auto& statement = newest_first ? statements_->walk_down : statements_->walk_up;
  auto rows = statement.run(range.low, range.high);
  while (rows.next())
    if (!builder.consider(read_filter_row(rows))) return false;
  return true;
}

std::optional<SqliteQuery::Candidates> SqliteQuery::find_candidates(const protocol::List& list,
                                                                    const JobMatcher& matcher,
                                                                    const IdRange& range) {
  const protocol::JobFilter& filter = list.filter;
  FirstIds first(rows_of(list) * kCandidatesPerRow, list.newest_first);
  if (!filter.ids.empty()) {
    for (const JobId id : filter.ids)
      if (id.value > range.low && id.value <= range.high) first.add(id.value);
  } else if (filter.batch && is_in_index(filter.batch, matcher)) {
    auto rows = statements_->ended_ids.run(range.low, range.high, filter.batch);
    while (rows.next()) first.add(rows.natural(0));
  } else if (is_in_short_indexes(matcher)) {
    take_open(matcher, range, [&](std::uint64_t id) { first.add(id); });
  } else {
    return std::nullopt;
  }
  first.cut();
  auto& ids = first.ids();
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return Candidates{std::move(ids), first.more()};
}

/// All jobs of the batch that `matcher` can select have ended, and they are not too many.
bool SqliteQuery::is_in_index(BatchId id, const JobMatcher& matcher) {
  const auto row = batch(id);
  return row && row->total <= kIndexEntriesMax && (row->open == 0 || matcher.only_ended());
}

/// The indexes of open jobs hold every job that `matcher` can select, and they are not too long.
bool SqliteQuery::is_in_short_indexes(const JobMatcher& matcher) {
  for (const JobState state :
       {JobState::blocked, JobState::done, JobState::dead, JobState::cancelled, JobState::expired})
    if (matcher.lets_through(state)) return false;
  auto counts = statements_->open_counts.run();
  if (!counts.next()) return false;
  std::uint64_t entries = 0;
  if (matcher.lets_through(JobState::scheduled)) entries += counts.natural(0);
  if (matcher.lets_through(JobState::ready)) entries += counts.natural(1);
  if (matcher.lets_through(JobState::leased)) entries += counts.natural(2);
  return entries <= kIndexEntriesMax;
}

/// Gives `take` the open jobs in the states that `matcher` lets through.
void SqliteQuery::take_open(const JobMatcher& matcher, const IdRange& range,
                            const std::function<void(std::uint64_t)>& take) {
  const std::pair<JobState, sqlite::Statement&> open[] = {
      {JobState::scheduled, statements_->scheduled_ids},
      {JobState::ready, statements_->ready_ids},
      {JobState::leased, statements_->leased_ids}};
  for (const auto& [state, ids] : open) {
    if (!matcher.lets_through(state)) continue;
    auto rows = ids.run(range.low, range.high);
    while (rows.next()) take(rows.natural(0));
  }
}

std::vector<LaneId> SqliteQuery::lanes(const protocol::JobFilter& filter) {
  std::vector<LaneId> lanes;
  if (filter.queue.empty() && filter.kind.empty()) return lanes;
  auto rows = statements_->lanes.run();
  while (rows.next()) {
    const LaneRow lane = read_lane(rows);
    if (selects_lane(filter, lane)) lanes.push_back(lane.id);
  }
  return lanes;
}

std::optional<FilterRow> SqliteQuery::filter_row(JobId id) {
  auto rows = statements_->filter_row.run(id);
  if (!rows.next()) return std::nullopt;
  return read_filter_row(rows);
}

}  // namespace millrace::broker

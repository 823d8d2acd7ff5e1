#include "broker/store/sqlite_query.h"

#include <fmt/format.h>

#include <algorithm>

#include "broker/store/sqlite_query_parts.h"
#include "broker/store/sqlite_settings.h"
#include "broker/store/store_files.h"
#include "common/util/clock.h"

namespace millrace::broker {
namespace {

/// A single statement that runs longer is stopped; none should.
constexpr Duration kStatementMax{5000};
constexpr Duration kLockWait{250};

}  // namespace

SqliteQuery::SqliteQuery(SqliteQueryOptions options)
    : options_(std::move(options)),
      connection_(resolve_database_path(options_.path), sqlite::Access::read, options_.vfs) {
  connection_.wait_for_locks(kLockWait);
  connection_.execute("PRAGMA query_only = ON");
  connection_.execute("PRAGMA mmap_size = 0");
  check_setting(connection_, "query_only", "1");
  check_ownership(connection_, options_.path, false);
  statements_ = std::make_unique<Statements>(connection_);
}

SqliteQuery::~SqliteQuery() = default;

/// Runs `work` over one view of the data. A machine that stood still may stop a statement for no
/// fault of its own, so it gets a second chance.
template <class Work>
auto SqliteQuery::read(const Work& work) {
  owner_.check();
  for (int tries = 1;; ++tries) {
    try {
      connection_.set_deadline(read_clocks().mono + kStatementMax);
      sqlite::Transaction transaction(connection_, sqlite::Transaction::Kind::read);
      auto result = work();
      transaction.commit();
      return result;
    } catch (const sqlite::SqliteError& error) {
      if (!error.is_interrupt()) throw;
      if (tries == 2) throw StoreError(ErrorCode::timeout, "reading the database took too long");
    }
  }
}

ResultsRead SqliteQuery::results(const ReadResults& request) {
  return read([&] {
    ResultsRead answer{request.to, request.batch, request.from, {}, request.from};
    const std::size_t rows_max = std::clamp<std::size_t>(request.rows_max, 1, kPageRowsMax);
    std::size_t bytes = 0;
    bool all = true;
    auto rows = statements_->results.run(request.batch, request.from, rows_max + 1);
    while (rows.next()) {
      if (answer.rows.size() == rows_max || (bytes >= request.bytes_max && !answer.rows.empty())) {
        all = false;
        break;
      }
      protocol::ResultRow row;
      row.job = rows.id<JobId>(0);
      row.state = checked_state(row.job, rows.integer(2));
      row.result = rows.payload(3);
      row.error = rows.text(5);
      try {
        check_result(row.job, row.result, rows.integer(4));
      } catch (const StoreError& damage) {  // told in place of the result, so the stream goes on
        row.result = {};
        row.error = damage.what();
      }
      row.attempts = rows.small(6);
      row.cursor = rows.id<FinishSeq>(7);
      row.elapsed = elapsed(rows.time(8), rows.time(9));
      row.kind = lane_names(rows.id<LaneId>(1)).second;
      bytes += row.result.size() + row.error.size();
      answer.rows.push_back(std::move(row));
    }
    if (!answer.rows.empty()) answer.upto = answer.rows.back().cursor;
    if (all) answer.upto = std::max(answer.upto, last_finish());
    return answer;
  });
}

FinishSeq SqliteQuery::last_finish() {
  auto rows = statements_->last_finish.run();
  return rows.next() ? rows.id<FinishSeq>(0) : FinishSeq{};
}

protocol::Page SqliteQuery::page(const protocol::List& list) {
  return read([&] {
    protocol::Page page;
    {
      auto rows = statements_->highest.run();
      if (rows.next()) page.highest = rows.natural(0);
    }
    if (list.what == protocol::ListWhat::jobs)
      job_page(list, page);
    else
      batch_page(list, page);
    return page;
  });
}

std::optional<protocol::Item> SqliteQuery::item(const protocol::Show& show) {
  return read([&]() -> std::optional<protocol::Item> {
    protocol::Item item;
    if (show.job) {
      auto job = job_info(show.job, true);
      if (!job) return std::nullopt;
      item.attempts = attempts(*job);
      item.job.push_back(std::move(*job));
    } else {
      const auto row = batch(show.batch);
      if (!row) return std::nullopt;
      item.batch.push_back(to_info(*row));
    }
    return item;
  });
}

void SqliteQuery::batch_page(const protocol::List& list, protocol::Page& page) {
  const IdRange range = range_of(list);
  const Instant deadline = read_clocks().mono + options_.page_time_max;
  auto& statement = list.newest_first ? statements_->batches_down : statements_->batches_up;
  auto rows = statement.run(range.low, range.high);
  for (std::size_t seen = 1; rows.next(); ++seen) {
    const BatchRow row = read_batch(rows);
    if (selects_batch(list.filter, row)) page.batches.push_back(to_info(row));
    if (page.batches.size() == rows_of(list) || is_time_up(seen, deadline)) {
      page.next = row.id.value;
      return;
    }
  }
}

std::optional<protocol::JobInfo> SqliteQuery::job_info(JobId id, bool payloads) {
  auto& statement = payloads ? statements_->job_whole : statements_->job;
  auto rows = statement.run(id);
  if (!rows.next()) return std::nullopt;
  JobRecord job = read_job(rows, payloads ? PayloadRead::whole : PayloadRead::none);
  protocol::JobInfo info = to_info(job);
  info.payload = std::move(job.payload);
  info.result = rows.payload(26);
  check_result(id, info.result, rows.integer(27));
  std::tie(info.queue, info.kind) = lane_names(job.spec.lane);
  info.worker = worker_name(job.status.worker);
  return info;
}

const SqliteQuery::LaneNames& SqliteQuery::lane_names(LaneId id) {
  const auto known = lane_names_.find(id);
  if (known != lane_names_.end()) return known->second;
  auto rows = statements_->lane.run(id);
  LaneNames names;
  if (rows.next()) names = {rows.text(0), rows.text(1)};
  return lane_names_.emplace(id, std::move(names)).first->second;
}

std::string SqliteQuery::worker_name(WorkerId id) {
  if (!id) return {};
  auto rows = statements_->worker.run(id);
  return rows.next() ? rows.text(0) : std::string();
}

std::vector<protocol::AttemptInfo> SqliteQuery::attempts(const protocol::JobInfo& job) {
  std::vector<protocol::AttemptInfo> attempts;
  auto rows = statements_->attempts.run(job.job);
  while (rows.next())
    attempts.push_back({rows.small(0), worker_name(rows.id<WorkerId>(1)), rows.time(2),
                        rows.time(3), rows.text(4), rows.text(5)});
  std::reverse(attempts.begin(), attempts.end());  // the newest were read first
  if (job.state == JobState::done) attempts.push_back(last_run(job));
  return attempts;
}

std::optional<BatchRow> SqliteQuery::batch(BatchId id) {
  {
    auto rows = statements_->batch.run(id);
    if (rows.next()) return read_batch(rows);
  }
  auto rows = statements_->job.run(id);
  if (!rows.next()) return std::nullopt;
  return implicit_batch(read_job(rows, PayloadRead::none));
}

}  // namespace millrace::broker

#include "broker/store/table_check.h"

#include <fmt/format.h>

#include "broker/store/sqlite_rows.h"

namespace millrace::broker {
namespace {

/// A statement that gives the ids of the jobs that break it.
struct Rule {
  const char* word;
  const char* text;
  const char* sql;
};

constexpr Rule kRules[] = {
    {"waiting", "job {} is ready and not among the ready ones of its lane and priority",
     "SELECT job.id FROM " MR_JOBS "WHERE " MR_STATE
     " = 2 AND NOT coalesce((SELECT first <= job.id "
     "FROM ready WHERE ready.lane = job.lane AND ready.priority = job.priority "
     "AND ready.last >= job.id ORDER BY ready.last LIMIT 1), 0)"},
    {"waiting", "job {} is among the ready ones and is not ready there",
     "SELECT job.id FROM ready CROSS JOIN job ON job.id BETWEEN ready.first AND ready.last "
     "LEFT JOIN status ON status.id = job.id LEFT JOIN lease ON lease.job = job.id "
     "WHERE job.lane <> ready.lane OR job.priority <> ready.priority OR " MR_STATE " <> 2"},
    {"waiting", "the run of ready jobs from {} on has jobs that are not there",
     "SELECT first FROM ready WHERE last - first + 1 <> "
     "(SELECT count(*) FROM job WHERE job.id BETWEEN ready.first AND ready.last)"},
    {"waiting", "the run of ready jobs from {} on overlaps the one before it",
     "SELECT first FROM (SELECT first, lag(last) OVER (PARTITION BY lane, priority ORDER BY last) "
     "AS previous FROM ready) WHERE first <= previous"},
    {"waiting", "job {} does not wait as its state and its expiry say",
     "SELECT status.id FROM status CROSS JOIN job ON job.id = status.id WHERE gives_up_at "
     "IS NOT iif(status.state IN (1, 2), nullif(job.expires_at, 0), NULL)"},
    {"waiting", "job {} is as it was enqueued and has an expiry that nobody watches",
     "SELECT job.id FROM " MR_JOBS "WHERE status.id IS NULL AND job.expires_at > 0"},
    {"status", "the status of job {} belongs to no job, or to one of another batch",
     "SELECT status.id FROM status LEFT JOIN job ON job.id = status.id "
     "WHERE job.id IS NULL OR job.batch <> status.batch"},
    {"lease", "job {} has a lease and is not there",
     "SELECT lease.job FROM lease LEFT JOIN job ON job.id = lease.job WHERE job.id IS NULL"},
    {"lease", "job {} is leased, and not under the lease that stands among the given ones",
     "SELECT status.id FROM status LEFT JOIN lease ON lease.job = status.id "
     "WHERE status.state = 3 AND lease.lease IS NOT status.lease"},
    {"lease", "job {} has been leased before, so it cannot be leased for the first time",
     "SELECT lease.job FROM lease CROSS JOIN status ON status.id = lease.job "
     "WHERE " MR_LEASED_SINCE " AND (status.state <> 2 OR status.deliveries <> 0)"},
};

}  // namespace

void check_tables(const sqlite::Connection& connection, const ViolationSink& sink) {
  for (const Rule& rule : kRules) {
    sqlite::Statement statement(connection, rule.sql);
    auto rows = statement.run();
    while (rows.next()) sink({rule.word, fmt::format(fmt::runtime(rule.text), rows.natural(0))});
  }
}

}  // namespace millrace::broker

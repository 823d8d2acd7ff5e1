// PostgreSQL as a queue: one table, jobs taken with FOR UPDATE SKIP LOCKED, by libpq.

#include <libpq-fe.h>
#include <poll.h>

#include "bench/rivals/rival.h"

namespace millrace::rivals {
namespace {

constexpr const char* kSchema =
    "SET client_min_messages = warning;"
    "CREATE TABLE IF NOT EXISTS jobs (id bigserial PRIMARY KEY, payload text NOT NULL,"
    " leased_at timestamptz);"
    "CREATE INDEX IF NOT EXISTS jobs_ready ON jobs (id) WHERE leased_at IS NULL";
constexpr const char* kEnqueue = "INSERT INTO jobs (payload) SELECT unnest($1::text[])";
// An update of the rows that a subquery has locked is the form that the manual and most queues use.
constexpr const char* kFetch =
    "UPDATE jobs SET leased_at = now() WHERE id = ANY(ARRAY(SELECT id FROM jobs"
    " WHERE leased_at IS NULL ORDER BY id LIMIT $1::bigint FOR UPDATE SKIP LOCKED))"
    " RETURNING id, payload";
constexpr const char* kAck = "DELETE FROM jobs WHERE id = ANY($1::bigint[])";

struct FreeResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Rows = std::unique_ptr<PGresult, FreeResult>;

std::string array(const std::vector<std::string>& values) {
  std::string text = "{";
  for (const auto& value : values) {
    if (text.size() > 1) text += ',';
    text += '"' + value + '"';
  }
  return text + "}";
}

/// One connection. Statements are prepared once and sent in pipeline mode.
class Database {
 public:
  explicit Database(const Options& options) {
    const std::string target =
        "host=127.0.0.1 port=" + std::to_string(options.port) + " user=postgres dbname=postgres";
    connection_ = PQconnectdb(target.c_str());
    if (PQstatus(connection_) != CONNECTION_OK) fail(PQerrorMessage(connection_));
    execute(kSchema);
    prepare("enqueue", kEnqueue);
    prepare("notify", "NOTIFY jobs");
    prepare("fetch", kFetch);
    prepare("ack", kAck);
  }
  ~Database() { PQfinish(connection_); }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  void execute(const char* sql) { check(PQexec(connection_, sql)); }
  void begin_pipeline() { PQenterPipelineMode(connection_); }

  void send(const char* statement) {
    PQsendQueryPrepared(connection_, statement, 0, nullptr, nullptr, nullptr, 0);
    ++sent_;
  }
  void send(const char* statement, const std::string& argument) {
    const char* values[] = {argument.c_str()};
    PQsendQueryPrepared(connection_, statement, 1, values, nullptr, nullptr, 0);
    ++sent_;
  }

  /// Commits what was sent since the last commit as one transaction; rows of the last statement.
  Rows commit() {
    if (PQpipelineSync(connection_) != 1) fail(PQerrorMessage(connection_));
    Rows last;
    for (; sent_ > 0; --sent_) {
      last = check(PQgetResult(connection_));
      if (PQgetResult(connection_) != nullptr) fail("one result a statement");
    }
    check(PQgetResult(connection_));  // the sync point
    return last;
  }

  /// Returns when a notification has come, or after `wait`.
  void await_notification(milliseconds wait) {
    if (!take_notifications()) {
      pollfd ready{PQsocket(connection_), POLLIN, 0};
      poll(&ready, 1, static_cast<int>(wait.count()));
      PQconsumeInput(connection_);
      (void)take_notifications();
    }
  }

 private:
  bool take_notifications() {
    bool any = false;
    while (PGnotify* notification = PQnotifies(connection_)) {
      PQfreemem(notification);
      any = true;
    }
    return any;
  }

  void prepare(const char* name, const char* sql) {
    check(PQprepare(connection_, name, sql, 0, nullptr));
  }

  Rows check(PGresult* result) {
    Rows owned(result);
    const auto status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_PIPELINE_SYNC)
      fail(PQerrorMessage(connection_));
    return owned;
  }

  PGconn* connection_ = nullptr;
  std::size_t sent_ = 0;
};

class TableProducer : public Producer {
 public:
  explicit TableProducer(const Options& options)
      : database_(options), notifies_(options.mode == "paced") {
    database_.begin_pipeline();
  }

  void enqueue(const std::vector<std::string>& payloads) override {
    database_.send("enqueue", array(payloads));
    if (notifies_) database_.send("notify");
    (void)database_.commit();
  }

 private:
  Database database_;
  // Only where a worker sleeps: a backlog needs no notification.
  bool notifies_;
};

class TableWorker : public Worker {
 public:
  explicit TableWorker(const Options& options)
      : database_(options), batch_(std::to_string(options.batch)) {
    if (options.mode == "latency") database_.execute("LISTEN jobs");
    database_.begin_pipeline();
  }

  std::size_t work(milliseconds wait, Handler handler) override {
    std::size_t jobs = work_once(handler);
    // The ack has gone with the request that found nothing: now there is time to wait.
    if (jobs == 0 && wait.count() > 0) {
      database_.await_notification(wait);
      jobs = work_once(handler);
    }
    return jobs;
  }

 private:
  std::size_t work_once(Handler handler) {
    if (!ids_.empty()) database_.send("ack", array(ids_));
    database_.send("fetch", batch_);
    const Rows rows = database_.commit();
    ids_.clear();
    for (int row = 0; row < PQntuples(rows.get()); ++row) {
      handler(PQgetvalue(rows.get(), row, 1));
      ids_.emplace_back(PQgetvalue(rows.get(), row, 0));
    }
    return ids_.size();
  }

  Database database_;
  std::string batch_;
  std::vector<std::string> ids_;
};

}  // namespace
}  // namespace millrace::rivals

int main(int argc, char** argv) {
  using namespace millrace::rivals;
  return run(
      argc, argv, [](const Options& o) { return std::make_unique<TableProducer>(o); },
      [](const Options& o) { return std::make_unique<TableWorker>(o); });
}

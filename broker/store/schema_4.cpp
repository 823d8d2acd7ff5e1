#include "broker/store/lease_list.h"
#include "broker/store/schema_steps.h"

namespace millrace::broker {
namespace {

// `ready_in` keeps its name, and means now: the lane, while the job is ready or leased. Anything
// else would be a copy of the whole table.
constexpr const char* kTables = R"sql(
UPDATE job SET ready_in = lane WHERE state = 3;
DROP INDEX job_leased;

-- The ids of jobs that were leased, packed (lease_list.h). Every leased job is in a row; one that
-- is in a row may long have ended.
CREATE TABLE lease_list (
  id   INTEGER PRIMARY KEY,
  jobs BLOB NOT NULL
) STRICT;
)sql";

}  // namespace

void create_4(const sqlite::Connection& connection) {
  std::vector<JobId> leased;
  {
    sqlite::Statement statement(connection, "SELECT id FROM job WHERE state = 3");
    auto rows = statement.run();
    while (rows.next()) leased.push_back(rows.id<JobId>(0));
  }
  connection.execute(kTables);
  LeaseList(connection, {}).write(leased);
}

}  // namespace millrace::broker

#include <string>
#include <vector>

#include "broker/store/schema_steps.h"

namespace millrace::broker {
namespace {

// `ready_in` keeps its name, and means now: the lane, while the job is ready or leased. Anything
// else would be a copy of the whole table.
constexpr const char* kTables = R"sql(
UPDATE job SET ready_in = lane WHERE state = 3;
DROP INDEX job_leased;

-- The ids of jobs that were leased, packed: sorted, each as the distance from the one before (the
-- first from 0), seven bits a byte, the lowest first, the eighth bit set but in the last byte of a
-- number. Every leased job is in a row; one that is in a row may long have ended.
CREATE TABLE lease_list (
  id   INTEGER PRIMARY KEY,
  jobs BLOB NOT NULL
) STRICT;
)sql";

std::string pack_rising(const std::vector<JobId>& sorted) {
  constexpr int kBits = 7;
  constexpr std::uint64_t kMore = 1U << kBits;
  std::string bytes;
  std::uint64_t last = 0;
  for (const JobId id : sorted) {
    std::uint64_t distance = id.value - last;
    last = id.value;
    for (; distance >= kMore; distance >>= kBits)
      bytes.push_back(static_cast<char>(distance | kMore));
    bytes.push_back(static_cast<char>(distance));
  }
  return bytes;
}

}  // namespace

void create_4(const sqlite::Connection& connection) {
  std::vector<JobId> leased;
  {
    sqlite::Statement statement(connection, "SELECT id FROM job WHERE state = 3 ORDER BY id");
    auto rows = statement.run();
    while (rows.next()) leased.push_back(rows.id<JobId>(0));
  }
  connection.execute(kTables);
  if (leased.empty()) return;
  const std::string bytes = pack_rising(leased);
  sqlite::Statement(connection, "INSERT INTO lease_list (jobs) VALUES (?)")
      .execute(sqlite::Blob{bytes});
}

}  // namespace millrace::broker

#include "broker/store/schema_steps.h"

namespace millrace::broker {
namespace {

// A row for each run of ids instead of each job (ready_table.h). With `last` in the key the first
// run that can hold an id is one step of the index, and a load goes on from wherever it was.
constexpr const char* kTables = R"sql(
ALTER TABLE ready RENAME TO ready_5;
CREATE TABLE ready (
  lane     INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  last     INTEGER NOT NULL,
  first    INTEGER NOT NULL,
  PRIMARY KEY (lane, priority, last)
) STRICT, WITHOUT ROWID;
INSERT INTO ready (lane, priority, last, first)
SELECT lane, priority, max(id), min(id)
FROM (SELECT lane, priority, id,
             id - row_number() OVER (PARTITION BY lane, priority ORDER BY id) AS run FROM ready_5)
GROUP BY lane, priority, run;
DROP TABLE ready_5;
)sql";

}  // namespace

void create_6(const sqlite::Connection& connection) { connection.execute(kTables); }

}  // namespace millrace::broker

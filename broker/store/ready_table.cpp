#include "broker/store/ready_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::broker {

ReadyTable::ReadyTable(const sqlite::Connection& connection)
    : insert_(connection, "INSERT OR ROLLBACK INTO ready (lane, priority, id)", "(?, ?, ?)"),
      erase_(connection,
             "DELETE FROM ready WHERE lane = ?1 AND priority = ?2 AND id BETWEEN ?3 AND ?4") {}

void ReadyTable::write() {
  sort(added_);
  insert_.insert(added_, [](sqlite::Statement& statement, int parameter, const Row& row) {
    return statement.bind_from(parameter, row.lane, row.priority, row.job);
  });
  // After them: a job may come and go within one transaction.
  sort(removed_);
  erase();
}

void ReadyTable::sort(std::vector<Row>& rows) {
  // Most often they are: jobs come, and are leased, in this order.
  if (!std::is_sorted(rows.begin(), rows.end())) std::sort(rows.begin(), rows.end());
}

void ReadyTable::erase() {
  for (std::size_t first = 0; first < removed_.size();) {
    const Row& from = removed_[first];
    std::size_t rows = 1;
    const auto next = [&] { return Row{from.lane, from.priority, JobId{from.job.value + rows}}; };
    while (first + rows < removed_.size() && removed_[first + rows] == next()) ++rows;
    const JobId last = removed_[first + rows - 1].job;
    if (erase_.execute(from.lane, from.priority, from.job, last) != static_cast<std::int64_t>(rows))
      throw StoreError(ErrorCode::internal,
                       fmt::format("not all of the jobs {} to {} of lane {} with priority {} are "
                                   "ready, so they cannot be leased",
                                   from.job.value, last.value, from.lane.value, from.priority));
    first += rows;
  }
}

}  // namespace millrace::broker

#include "broker/store/ready_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace millrace::broker {

ReadyTable::ReadyTable(const sqlite::Connection& connection)
    : insert_(connection, "INSERT OR ROLLBACK INTO ready (lane, priority, id)", "(?, ?, ?)"),
      erase_(connection,
             "DELETE FROM ready WHERE lane = ?1 AND priority = ?2 AND id BETWEEN ?3 AND ?4") {}

void ReadyTable::write() {
  // Those that go come last. A job that came and went within the transaction is in both parts.
  std::sort(changes_.begin(), changes_.end(), [](const Change& a, const Change& b) {
    return std::tuple(-a.by, a.lane, a.priority, a.job) <
           std::tuple(-b.by, b.lane, b.priority, b.job);
  });
  insert();
  erase();
}

void ReadyTable::insert() {
  const auto end = std::find_if(changes_.begin(), changes_.end(),
                                [](const Change& change) { return change.by < 0; });
  const std::span added(changes_.begin(), end);
  insert_.insert(added, [](sqlite::Statement& statement, int parameter, const Change& change) {
    return statement.bind_from(parameter, change.lane, change.priority, change.job);
  });
  changes_.erase(changes_.begin(), end);
}

void ReadyTable::erase() {
  for (std::size_t first = 0; first < changes_.size();) {
    std::size_t last = first;
    while (last + 1 < changes_.size() && changes_[last + 1].is_next_to(changes_[last])) ++last;
    const Change& from = changes_[first];
    const Change& to = changes_[last];
    const auto rows = static_cast<std::int64_t>(last - first + 1);
    if (erase_.execute(from.lane, from.priority, from.job, to.job) != rows)
      throw StoreError(ErrorCode::internal,
                       fmt::format("not all of the jobs {} to {} of lane {} with priority {} are "
                                   "ready, so they cannot be leased",
                                   from.job.value, to.job.value, from.lane.value, from.priority));
    first = last + 1;
  }
}

}  // namespace millrace::broker

#include "broker/store/lease_table.h"

#include <algorithm>

namespace millrace::broker {

LeaseTable::LeaseTable(const sqlite::Connection& connection, std::size_t slack)
    : insert_(connection, "INSERT OR ROLLBACK INTO lease (job, lease, worker)", "(?, ?, ?)"),
      replace_(connection, "INSERT OR REPLACE INTO lease (job, lease, worker) VALUES (?, ?, ?)"),
      clear_(connection, "DELETE FROM lease"),
      count_(connection, "SELECT count(*) FROM lease"),
      slack_(slack) {}

void LeaseTable::load(std::map<JobId, Held> leases) {
  auto rows = count_.run();
  rows_ = rows_before_ = rows.next() ? rows.natural(0) : 0;
  leases_ = std::move(leases);
}

void LeaseTable::begin() {
  if (!undo_.empty()) rows_ = rows_before_;
  for (; !undo_.empty(); undo_.pop_back()) {
    const auto& [job, before] = undo_.back();
    if (before)
      leases_.insert_or_assign(job, *before);
    else
      leases_.erase(job);
  }
  rows_before_ = rows_;
  first_.clear();
  again_.clear();
}

bool LeaseTable::holds(JobId job, LeaseId lease) const {
  const auto found = leases_.find(job);
  return found != leases_.end() && found->second.lease == lease;
}

void LeaseTable::add(JobId job, Held held, bool first) {
  const auto [place, fresh] = leases_.try_emplace(job, held);
  undo_.emplace_back(job, fresh ? std::nullopt : std::optional(place->second));
  place->second = held;
  (first ? first_ : again_).emplace_back(job, held);
}

void LeaseTable::remove(JobId job) {
  const auto found = leases_.find(job);
  undo_.emplace_back(job, found->second);
  leases_.erase(found);
}

void LeaseTable::write() {
  const std::size_t added = first_.size() + again_.size();
  if (added == 0) return;
  rows_ += added;
  if (rows_ - leases_.size() > std::max(slack_, leases_.size())) {
    clear_.execute();
    rows_ = leases_.size();
    insert_.insert(leases_, bind);
    return;
  }
  insert_.insert(first_, bind);
  for (const Row& row : again_) {
    bind(replace_, 1, row);
    replace_.execute();
  }
}

int LeaseTable::bind(sqlite::Statement& statement, int parameter, const Row& row) {
  const auto& [job, held] = row;
  return statement.bind_from(parameter, job, held.lease, held.worker);
}

}  // namespace millrace::broker

#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "common/protocol/messages.h"

namespace millrace::simulation {

/// What workers said that their runs left behind, and what the broker answered. Throws Violation.
class OutputsSeen {
 public:
  struct Item {
    protocol::OutputItem item;
    bool kept = false;  ///< was answered `ok`; once
    bool told = false;  ///< was answered `ok` or `duplicate`
  };
  using Key = std::pair<LeaseId, std::uint64_t>;  ///< lease, n

  /// By the worker that was given these leases.
  void sent(const protocol::OutputItem& item);
  /// `own`: by that worker, too.
  void settled(const protocol::OutputItem& item, protocol::ItemStatus status, bool own);

  [[nodiscard]] const std::map<Key, Item>& items() const { return items_; }

 private:
  std::map<Key, Item> items_;
};

}  // namespace millrace::simulation

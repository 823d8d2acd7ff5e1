#pragma once

// The durable side of the broker. A store knows dialect, not policy: it writes what it is told,
// guards every update, and never decides. tests/contract holds all implementations to this page.

#include <span>
#include <utility>
#include <vector>

#include "broker/engine/effects.h"
#include "broker/engine/store_error.h"

namespace millrace::broker {

/// One thread makes, uses and destroys it. All calls block on the disk and may throw StoreError.
class Store {
 public:
  virtual ~Store() = default;
  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  /// Raises the epoch (on disk before it returns) and reads what the engine starts from. Once.
  virtual Snapshot start() = 0;

  /// Applies `batch` in one transaction. When it returns the batch survives power loss.
  virtual void commit(const WriteBatch& batch) = 0;

  /// Sees every earlier commit.
  virtual Loaded load(const Load& load) = 0;

  /// Payloads of jobs, in the order of `ids`; every id must exist.
  virtual std::vector<Payload> payloads(std::span<const JobId> ids) = 0;

  /// What may still be written: the file system's free space, less what moving the log into the
  /// file may take. UINT64_MAX when nobody knows. Cheap.
  virtual std::uint64_t free_bytes() = 0;

  /// Housekeeping between commits (checkpoints, is the file still ours?). Cheap when nothing is
  /// due.
  virtual void maintain() = 0;
};

}  // namespace millrace::broker

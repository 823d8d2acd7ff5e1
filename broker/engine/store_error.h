#pragma once

#include <stdexcept>
#include <string>

#include "common/errors.h"

namespace millrace::broker {

/// The store cannot go on. storage_failed, corrupt, foreign_file, store_locked, or internal when a
/// guard matched no row. Whoever catches it ends the broker: the engine is ahead of the disk.
class StoreError : public std::runtime_error {
 public:
  StoreError(ErrorCode code, const std::string& message)
      : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace millrace::broker

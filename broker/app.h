#pragma once

#include <string>

#include "broker/engine/retention.h"
#include "common/errors.h"
#include "common/limits.h"
#include "common/util/signals.h"

namespace millrace::broker {

struct AppOptions {
  std::string listen = kEndpointDefault;
  std::string db = "millrace.db";
  Retention retention;
  /// Where BACKUP of peers puts files; empty: where they say, if only this machine can reach us.
  std::string backup_dir;
  std::uint64_t min_free_bytes = 256'000'000;
  Limits limits;
};

/// Builds the broker's objects, connects them, and takes them down in the opposite order. Returns
/// the exit code of the program: after a signal 0, else what the failure calls for.
int run_broker(const AppOptions& options, const Signals& signals);

}  // namespace millrace::broker

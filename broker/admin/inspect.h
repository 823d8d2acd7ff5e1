#pragma once

#include "broker/engine/effects.h"
#include "broker/store/query.h"

namespace millrace::broker {

/// Answers LIST or SHOW from what is committed. Runs on the thread that owns `query`.
[[nodiscard]] Reply inspect(Query& query, const Inspect& request);

}  // namespace millrace::broker

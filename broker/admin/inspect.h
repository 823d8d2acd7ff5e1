#pragma once

#include "broker/engine/effects.h"
#include "broker/store/query.h"

namespace millrace::broker {

/// How a job ended, or what its runs left behind; tells damage as JobRead::error.
[[nodiscard]] JobRead inspect_job(Query& query, const ReadJob& read);
/// Answers LIST or SHOW from what is committed. Runs on the thread that owns `query`.
[[nodiscard]] Reply inspect(Query& query, const Inspect& request);

}  // namespace millrace::broker

#pragma once

// Checksums of stored rows: SQLite does not notice a flipped bit in a row, these do.
//
// They are part of the file format. What goes into them, in which order, never changes within a
// schema version; a new column is left out or counts only where it is not its default, so that the
// checksums of older rows stay valid, or a migration computes all of them anew.

#include <cstdint>

#include "broker/engine/records.h"

namespace millrace::broker {

/// Over what never changes in a job: id, spec and payload.
[[nodiscard]] std::int64_t job_checksum(JobId id, const JobSpec& spec, const Payload& payload);
/// Over the result of job `id`.
[[nodiscard]] std::int64_t result_checksum(JobId id, const Payload& result);

}  // namespace millrace::broker

#pragma once

// Jobs that a running job enqueues: ENQUEUE with a lease. Private to the engine's .cpp files.

#include "broker/engine/core.h"

namespace millrace::broker {

/// The job that this session runs under this lease. Null: the lease is over, or another's.
[[nodiscard]] const Job* find_parent(Core&, const SessionId& sender, LeaseId);

/// The batch of a job that has not ended, which its children join: they end before it does, so it
/// does not matter whether it is sealed. A job that was its own batch and had no row has one from
/// now on.
[[nodiscard]] Batch& batch_of_parent(Core&, const Job& parent);

/// A child may be enqueued into the queue of its parent while that is closed: the parent is open,
/// so the queue cannot have drained yet, and drains after the child.
[[nodiscard]] bool is_own_queue(Core&, const Job* parent, const std::string& queue);

}  // namespace millrace::broker

#pragma once

#include <string>

#include "producer/client.h"

namespace millrace::producer {

/// Waits until this generation of a queue, closed with `wait`, is drained. A DRAINED that was lost
/// with a connection is asked for again. Errors: as Client.
[[nodiscard]] Status wait_drained(Client& client, const std::string& queue,
                                  std::uint64_t generation);

}  // namespace millrace::producer

#pragma once

#include <cstdint>

#include "common/protocol/messages.h"

namespace millrace::worker {

/// What the workbench says to the broker; net::Peer in the program, a recorder in tests. The
/// agent's thread.
class Link {
 public:
  virtual ~Link() = default;
  virtual void tell(const protocol::Message& message) = 0;
  /// Sent again by the link until it is answered.
  virtual std::uint64_t request(protocol::Message message) = 0;
  /// Not sent again; a late reply is dropped.
  virtual void forget(std::uint64_t correlation) = 0;
};

/// A request that was refused for the moment is sent again after this, or later if the broker says.
inline constexpr Duration kSendAgainAfter{500};

}  // namespace millrace::worker

#pragma once

// Messages to bytes and back. Pure; any thread.

#include <span>
#include <string>
#include <string_view>

#include "common/errors.h"
#include "common/protocol/messages.h"

namespace millrace::protocol {

/// One frame. Never fails: what the broker and the peers build is within the limits.
[[nodiscard]] std::string encode(const Envelope& envelope);

/// What could be read of a frame that is not a good message, so that the refusal can be addressed.
struct Refused {
  Error error;
  std::uint64_t correlation = 0;
};

/// Reads one frame of at most kFrameBytesMax. Safe on any bytes: depth, array and map sizes are
/// bounded before anything is allocated, trailing bytes and wrong types are refused.
/// Errors: bad_format, unsupported_version, unknown_type.
[[nodiscard]] tl::expected<Envelope, Refused> decode(std::string_view frame);

}  // namespace millrace::protocol

#pragma once

#include <cstdint>
#include <string>

namespace millrace {

/// `count` bytes from the kernel. Throws std::runtime_error when it has none (it always has).
[[nodiscard]] std::string random_bytes(std::size_t count);
[[nodiscard]] std::uint64_t random_u64();

}  // namespace millrace

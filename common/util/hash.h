#pragma once

#include <cstdint>
#include <string_view>

namespace millrace {

/// XXH3, 64 bits. Stable over versions and machines; not for adversaries.
[[nodiscard]] std::uint64_t hash64(std::string_view bytes, std::uint64_t seed = 0);

}  // namespace millrace

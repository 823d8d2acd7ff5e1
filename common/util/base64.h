#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace millrace {

/// RFC 4648, section 4, with padding.
[[nodiscard]] std::string base64(std::string_view bytes);
/// Nothing when it is no base64: another character, or a length that is no multiple of four.
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);

}  // namespace millrace

#pragma once

// Small text helpers for what handlers say. Pure; any thread.

#include <cstddef>
#include <string>
#include <string_view>

namespace millrace::worker {

/// At most `bytes_max` bytes, not cut inside a character of UTF-8.
[[nodiscard]] std::string_view utf8_prefix(std::string_view text, std::size_t bytes_max);

[[nodiscard]] bool is_utf8(std::string_view text);
/// `text` with U+FFFD for each byte that is no UTF-8.
[[nodiscard]] std::string to_utf8(std::string_view text);

/// `text` as a string of JSON, with its quotes. Bytes that are no UTF-8 become U+FFFD.
[[nodiscard]] std::string json_string(std::string_view text);

}  // namespace millrace::worker

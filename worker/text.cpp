#include "worker/text.h"

#include <fmt/format.h>

#include <array>
#include <iterator>

namespace millrace::worker {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

unsigned byte_at(std::string_view text, std::size_t at) {
  return static_cast<unsigned char>(text[at]);
}

/// Bytes of the character of UTF-8 that begins `text`; 0 when it is none (cut off, overlong, a
/// surrogate, or above U+10FFFF).
std::size_t character_bytes(std::string_view text) {
  const unsigned first = byte_at(text, 0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < size) return 0;
  unsigned value = first & (0xFFU >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte_at(text, i) & 0xC0U) != 0x80) return 0;
    value = value << 6U | (byte_at(text, i) & 0x3FU);
  }
  constexpr std::array<unsigned, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  return value < kLeast.at(size) || value > 0x10FFFF || surrogate ? 0 : size;
}

void append_ascii(std::string& json, char c) {
  const auto value = static_cast<unsigned char>(c);
  if (c == '"' || c == '\\')
    (json += '\\') += c;
  else if (value < 0x20 || value == 0x7F)
    fmt::format_to(std::back_inserter(json), "\\u{:04x}", value);
  else
    json += c;
}

}  // namespace

std::string_view utf8_prefix(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  std::size_t end = bytes_max;
  while (end > 0 && (byte_at(text, end) & 0xC0U) == 0x80) --end;
  return text.substr(0, end);
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = character_bytes(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::string to_utf8(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const std::size_t size = character_bytes(text);
    valid += size == 0 ? kReplacement : text.substr(0, size);
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return valid;
}

std::string json_string(std::string_view text) {
  std::string json = "\"";
  while (!text.empty()) {
    const std::size_t size = character_bytes(text);
    if (size == 1)
      append_ascii(json, text.front());
    else
      json += size == 0 ? kReplacement : text.substr(0, size);
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return json += '"';
}

}  // namespace millrace::worker

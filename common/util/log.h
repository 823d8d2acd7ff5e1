#pragma once

// Events for people and for log collectors, one line each, on stderr. The only door to the logging
// library; every function may be called from any thread, `init` once before other threads log.

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "common/errors.h"

namespace millrace::log {

enum class Level { debug, info, warn, error };

/// `automatic`: `pretty` when stderr is a terminal, else `plain`. Pretty lines carry local time and
/// colours (none under NO_COLOR), plain ones UTC with milliseconds.
enum class Format { automatic, pretty, plain };

/// Errors: bad_request, naming the words there are.
[[nodiscard]] Result<Level> parse_level(std::string_view word);

/// Without it events of `info` and above are written as `automatic` says.
void init(Level level, Format format = Format::automatic);

[[nodiscard]] bool enabled(Level level);
/// Line breaks and other control characters in `text` are written as escapes, so that no text from
/// a peer can forge a line or reach the terminal.
void write(Level level, std::string_view text);
/// Before _exit.
void flush();

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::debug)) write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::info)) write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::warn)) write(Level::warn, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

/// `text` with control characters as escapes: `\n`, `\x1b`.
[[nodiscard]] std::string one_line(std::string_view text);

}  // namespace millrace::log

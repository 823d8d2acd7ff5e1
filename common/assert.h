#pragma once

// A broken invariant is a bug: it ends the process, also in release builds.

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

namespace millrace::detail {
[[noreturn]] inline void assertion_failed(const char* file, int line, const char* expression,
                                          const std::string& values) {
  std::fprintf(stderr, "millrace: bug at %s:%d: %s does not hold %s\n", file, line, expression,
               values.c_str());
  std::fflush(stderr);
  std::_Exit(70);
}
}  // namespace millrace::detail

/// MR_ASSERT(condition) or MR_ASSERT(condition, "job {} state {}", id, state). Exit code 70.
#define MR_ASSERT(condition, ...)                                          \
  do {                                                                     \
    if (!(condition)) [[unlikely]]                                         \
      ::millrace::detail::assertion_failed(__FILE__, __LINE__, #condition, \
                                           ::fmt::format("" __VA_ARGS__)); \
  } while (false)

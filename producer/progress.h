#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/types.h"

namespace millrace::producer {

struct ProgressState {
  std::uint64_t done = 0;
  std::uint64_t total = 0;  ///< so far; grows while jobs are enqueued
  std::uint64_t failed = 0;
  Duration elapsed{};
};

/// One line of at most `columns` columns: a bar, counts, rate and failures.
[[nodiscard]] std::string render_progress(const ProgressState& state, std::size_t columns,
                                          bool color);

/// A bar on stderr that stays below everything printed; nothing at all when stderr is no terminal.
/// Whoever prints on stdout or stderr calls `clear` before.
class Progress {
 public:
  /// Looks at stderr, at TERM, and at NO_COLOR.
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  [[nodiscard]] bool shown() const { return shown_; }
  void clear();
  /// At most ten times a second.
  void draw(const ProgressState& state);

 private:
  bool shown_ = false;
  bool color_ = false;
  bool drawn_ = false;
  Instant drawn_at_{};
};

}  // namespace millrace::producer

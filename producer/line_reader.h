#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/errors.h"

namespace millrace::producer {

/// Reads a file, a pipe or a terminal line by line in bounded memory, and never blocks: a pipe that
/// has nothing to say just now gives `idle`. `\n` and `\r\n` end a line; a byte order mark at the
/// front is dropped. Belongs to one thread.
class LineReader {
 public:
  enum class Got {
    line,      ///< line() and number() are valid until the next call
    too_long,  ///< number() is the line that was skipped
    idle,
    end,
  };

  /// `line_bytes_max`: longer lines are skipped and reported as too_long.
  explicit LineReader(std::size_t line_bytes_max) : line_bytes_max_(line_bytes_max) {}
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// `-` is stdin. Errors: no_input.
  [[nodiscard]] Status open(const std::string& path);

  [[nodiscard]] Got next();
  [[nodiscard]] std::string_view line() const { return line_; }
  /// Of the line got last, from 1.
  [[nodiscard]] std::uint64_t number() const { return number_; }
  [[nodiscard]] int fd() const { return fd_; }
  /// False for pipes and terminals.
  [[nodiscard]] bool is_file() const { return is_file_; }
  /// What to call the input in messages: the path, or `stdin`.
  [[nodiscard]] const std::string& name() const { return name_; }
  /// Set when reading failed half-way; the input then looks as if it had ended.
  [[nodiscard]] const Status& failure() const { return failure_; }

 private:
  [[nodiscard]] bool read_more();
  [[nodiscard]] Got take_line(std::size_t end, std::size_t skip);

  std::size_t line_bytes_max_;
  int fd_ = -1;
  bool is_file_ = false;
  bool at_end_ = false;
  bool skipping_ = false;  // inside a line that is too long
  std::string name_;
  std::string buffer_;
  std::size_t begin_ = 0;    // of the first line in buffer_ that was not given out
  std::size_t scanned_ = 0;  // buffer_ has no line end before this position
  std::string_view line_;
  std::uint64_t number_ = 0;
  Status failure_;
};

}  // namespace millrace::producer

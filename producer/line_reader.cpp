#include "producer/line_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "common/limits.h"
#include "producer/client.h"

namespace millrace::producer {
namespace {

constexpr std::size_t kReadBytes = 64 * kKiB;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

tl::unexpected<Error> no_input(const std::string& name, int error) {
  return fail(ErrorCode::no_input,
              fmt::format("{} cannot be read: {}", name, std::generic_category().message(error)));
}

}  // namespace

LineReader::~LineReader() {
  if (fd_ > STDERR_FILENO) ::close(fd_);
}

Status LineReader::open(const std::string& path) {
  name_ = path == "-" ? "stdin" : path;
  fd_ = path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (fd_ < 0 || fstat(fd_, &info) != 0) return no_input(name_, errno);
  if (S_ISDIR(info.st_mode)) return no_input(name_, EISDIR);
  is_file_ = S_ISREG(info.st_mode);
  return {};
}

LineReader::Got LineReader::next() {
  while (true) {
    const std::size_t end = buffer_.find('\n', scanned_);
    if (end != std::string::npos) return take_line(end, 1);
    scanned_ = buffer_.size();
    if (scanned_ - begin_ > line_bytes_max_ + 1) {
      // Forget what is here of it; the rest is skipped as it comes.
      skipping_ = true;
      buffer_.clear();
      begin_ = scanned_ = 0;
    }
    if (at_end_) {
      if (begin_ == buffer_.size() && !skipping_) return Got::end;
      return take_line(buffer_.size(), 0);
    }
    if (!is_file_ && !is_readable(fd_)) return Got::idle;
    at_end_ = !read_more();
  }
}

/// Gives out buffer_[begin_, end) and steps over its line end of `skip` bytes.
LineReader::Got LineReader::take_line(std::size_t end, std::size_t skip) {
  line_ = std::string_view(buffer_).substr(begin_, end - begin_);
  begin_ = scanned_ = end + skip;
  ++number_;
  if (number_ == 1 && line_.starts_with(kByteOrderMark)) line_.remove_prefix(kByteOrderMark.size());
  if (line_.ends_with('\r')) line_.remove_suffix(1);
  if (std::exchange(skipping_, false) || line_.size() > line_bytes_max_) return Got::too_long;
  return Got::line;
}

bool LineReader::read_more() {
  buffer_.erase(0, begin_);
  scanned_ -= begin_;
  begin_ = 0;
  const std::size_t had = buffer_.size();
  buffer_.resize(had + kReadBytes);
  ssize_t got = 0;
  do {
    got = ::read(fd_, buffer_.data() + had, kReadBytes);
  } while (got < 0 && errno == EINTR);
  if (got < 0) failure_ = no_input(name_, errno);
  buffer_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return got > 0;
}

}  // namespace millrace::producer

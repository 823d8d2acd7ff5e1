#include <fmt/format.h>

#include <algorithm>

#include "worker/process/child_messages.h"

namespace millrace::worker {
namespace {

constexpr std::size_t kLengthBytes = 4;

tl::unexpected<Error> too_long(std::size_t size) {
  return fail(ErrorCode::bad_format,
              fmt::format("a message of {} bytes is over the limit of {}", size, kChildMessageMax));
}

}  // namespace

void ChildStream::append(std::string_view bytes) {
  if (begin_ > 0) {
    bytes_.erase(0, begin_);
    searched_ -= std::min(searched_, begin_);
    begin_ = 0;
  }
  bytes_.append(bytes);
}

Result<std::optional<std::string_view>> ChildStream::next() {
  const std::string_view rest = std::string_view(bytes_).substr(begin_);
  if (rest.empty()) return std::nullopt;
  if (form_ == ChildForm::unknown) form_ = rest[0] == '{' ? ChildForm::json : ChildForm::msgpack;
  if (form_ == ChildForm::json) {
    const std::size_t end = bytes_.find('\n', std::max(begin_, searched_));
    searched_ = bytes_.size();
    if (end == std::string::npos) {
      if (rest.size() > kChildMessageMax) return too_long(rest.size());
      return std::nullopt;
    }
    const std::string_view line = std::string_view(bytes_).substr(begin_, end - begin_);
    begin_ = end + 1;
    searched_ = begin_;
    return line;
  }
  if (rest.size() < kLengthBytes) return std::nullopt;
  std::size_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i)
    length = length << 8U | static_cast<unsigned char>(rest[i]);
  if (length > kChildMessageMax) return too_long(length);
  if (rest.size() < kLengthBytes + length) return std::nullopt;
  begin_ += kLengthBytes + length;
  return rest.substr(kLengthBytes, length);
}

}  // namespace millrace::worker

#include "producer/url_list.h"

#include <algorithm>
#include <cctype>

#include "producer/utf8.h"

namespace millrace::producer {
namespace {

constexpr std::string_view kWhiteSpace = " \t\r\n\v\f";

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kWhiteSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kWhiteSpace) - begin + 1);
}

bool begins_with(std::string_view text, std::string_view scheme) {
  return text.size() >= scheme.size() &&
         std::equal(scheme.begin(), scheme.end(), text.begin(),
                    [](char a, unsigned char b) { return a == std::tolower(b); });
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace

UrlLine read_url_line(std::string_view line, std::string_view& url) {
  const std::string_view text = trim(line);
  if (text.empty() || text.front() == '#') return UrlLine::skip;
  std::size_t scheme = 0;
  for (const std::string_view known : {"http://", "https://"})
    if (begins_with(text, known)) scheme = known.size();
  if (scheme == 0) {
    url = "a URL begins with http:// or https://";
  } else if (text.size() == scheme ||
             std::string_view("/?#").find(text[scheme]) != std::string_view::npos) {
    url = "the URL names no host";
  } else if (!is_utf8(text)) {
    url = "the line is not UTF-8";
  } else {
    url = text;
    return UrlLine::url;
  }
  return UrlLine::bad;
}

std::uint64_t UrlBook::add(std::string_view url) {
  if (lengths_.size() % kStride == 0) begins_.push_back(text_.size());
  text_ += url;
  lengths_.push_back(static_cast<std::uint32_t>(url.size()));
  return lengths_.size() - 1;
}

void UrlBook::enqueued(JobId first, std::uint64_t count, std::uint64_t index) {
  ranges_[first] = {count, index};
}

std::string_view UrlBook::url_of(JobId job) const {
  auto range = ranges_.upper_bound(job);
  if (range == ranges_.begin()) return {};
  --range;
  const std::uint64_t offset = job.value - range->first.value;
  return offset < range->second.count ? at(range->second.index + offset) : std::string_view{};
}

std::string_view UrlBook::at(std::uint64_t index) const {
  std::size_t begin = begins_[index / kStride];
  for (std::uint64_t i = index - index % kStride; i < index; ++i) begin += lengths_[i];
  return std::string_view(text_).substr(begin, lengths_[index]);
}

}  // namespace millrace::producer

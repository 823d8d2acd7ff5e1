#pragma once

// The rules for lists of URLs, and the compact memory of those that were enqueued. Pure.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/types.h"

namespace millrace::producer {

enum class UrlLine : std::uint8_t { url, skip, bad };

/// Looks at one line of a list: `url` gets what is on it without the white space around it, or when
/// the line is bad, what is wrong. Blank lines and those that begin with `#` are skipped.
[[nodiscard]] UrlLine read_url_line(std::string_view line, std::string_view& url);

/// The URLs of a run by their number in the input, and by the job that checks them. Costs each URL
/// its length and 4 bytes; requests cost 24 bytes each.
class UrlBook {
 public:
  /// Returns the number of the URL, from 0.
  std::uint64_t add(std::string_view url);
  /// The broker gave the jobs first … first+count−1 to the URLs from `index` on.
  void enqueued(JobId first, std::uint64_t count, std::uint64_t index);
  /// The URL that `job` checks; empty when it is no job of ours.
  [[nodiscard]] std::string_view url_of(JobId job) const;
  [[nodiscard]] std::string_view at(std::uint64_t index) const;
  [[nodiscard]] std::uint64_t size() const { return lengths_.size(); }

 private:
  struct Range {
    std::uint64_t count = 0;
    std::uint64_t index = 0;
  };

  /// Where every kStride-th URL begins; the lengths lead to those between.
  static constexpr std::size_t kStride = 64;

  std::string text_;
  std::vector<std::uint32_t> lengths_;
  std::vector<std::uint64_t> begins_;
  std::map<JobId, Range> ranges_;  // by first job
};

}  // namespace millrace::producer

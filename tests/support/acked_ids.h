#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "common/errors.h"
#include "common/types.h"

namespace millrace {

/// The ids that producers were told, and which of them were found.
class AckedIds {
 public:
  /// Lines of one id each, or of JSON objects whose `ids` is an array of them, as
  /// `millrace-producer enqueue --output jsonl` prints; empty lines are skipped. Error: bad_data,
  /// with the number of the line.
  static Result<AckedIds> read(std::istream& lines);

  [[nodiscard]] std::size_t size() const { return ids_.size(); }
  /// Told to two askers.
  [[nodiscard]] const std::vector<JobId>& repeated() const { return repeated_; }
  /// True when the id was acknowledged.
  bool find(JobId id);
  /// Those that `find` was not asked for, from `first` on.
  [[nodiscard]] std::vector<JobId> missing(JobId first) const;

 private:
  void sort();

  std::vector<JobId> ids_;  ///< sorted, each once
  std::vector<bool> found_;
  std::vector<JobId> repeated_;
};

}  // namespace millrace

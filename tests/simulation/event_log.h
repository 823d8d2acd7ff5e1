#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "common/types.h"

namespace millrace::simulation {

/// What happened, as a rolling hash over everything and the last few hundred events in words.
class EventLog {
 public:
  explicit EventLog(bool print) : print_(print) {}

  /// `text` is a literal with at most three {} for `values`.
  void add(Instant at, const char* text, std::array<std::uint64_t, 3> values);
  [[nodiscard]] std::uint64_t hash() const { return hash_; }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::string last(std::size_t lines) const;

 private:
  struct Event {
    Instant at{};
    const char* text = "";
    std::array<std::uint64_t, 3> values{};
  };
  static constexpr std::size_t kKept = 512;

  static std::string line(const Event& event);

  bool print_;
  std::vector<Event> events_{kKept};
  std::uint64_t count_ = 0;
  std::uint64_t hash_ = 0xCBF29CE484222325ULL;
};

}  // namespace millrace::simulation

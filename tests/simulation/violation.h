#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace millrace::simulation {

/// A promise was broken: the run ends and the seed has failed.
class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <class... Values>
void require(bool holds, fmt::format_string<Values...> text, Values&&... values) {
  if (!holds) throw Violation(fmt::format(text, std::forward<Values>(values)...));
}

}  // namespace millrace::simulation

#pragma once

#include <string>
#include <vector>

#include "producer/compare/figures.h"

namespace millrace::producer {

/// One line for whoever has to choose where jobs of `kind` run: the way first, then why, then what
/// would speak for another. `rows` are those of a comparison, the inline run first. Pure.
[[nodiscard]] std::string advise(const std::string& kind, const std::vector<Figures>& rows);

}  // namespace millrace::producer

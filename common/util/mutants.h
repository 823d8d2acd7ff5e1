#pragma once

// The planted bugs, by number. `if (instrument::mutant(kX))` marks the place of each; a build without
// MILLRACE_INSTRUMENTED has none of them. `millrace-sim --mutants` shows that every one is found. A
// number is never reused.

#include <array>
#include <string_view>

#include "common/util/instrument.h"

namespace millrace::instrument {

struct Mutant {
  int number = 0;
  std::string_view name;
  std::string_view what;
};

// name, number, what the bug does
#define MR_MUTANTS(X)                                                                       \
  X(stale_lease, 1, "an outcome counts although its lease is over")

#define MR_MUTANT(name, number, what) inline constexpr int name = number;
namespace mutants {
MR_MUTANTS(MR_MUTANT)
}  // namespace mutants
#undef MR_MUTANT

inline constexpr std::array kMutants = {
#define MR_MUTANT(name, number, what) Mutant{number, #name, what},
    MR_MUTANTS(MR_MUTANT)
#undef MR_MUTANT
};

}  // namespace millrace::instrument

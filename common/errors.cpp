#include "common/errors.h"

namespace millrace {
namespace {

struct Entry {
  ErrorCode code;
  std::string_view word;
  int exit_code;
  std::string_view meaning;
};

constexpr Entry kEntries[] = {
#define MR_ENTRY(name, number, exit_code, meaning) {ErrorCode::name, #name, exit_code, meaning},
    MR_ERRORS(MR_ENTRY)
#undef MR_ENTRY
};

const Entry& entry(ErrorCode code) {
  for (const Entry& candidate : kEntries)
    if (candidate.code == code) return candidate;
  return entry(ErrorCode::internal);
}

}  // namespace

std::string_view to_string(ErrorCode code) { return entry(code).word; }
std::string_view meaning(ErrorCode code) { return entry(code).meaning; }
int number(ErrorCode code) { return static_cast<int>(code); }
int exit_code(ErrorCode code) { return entry(code).exit_code; }
bool is_retryable(ErrorCode code) { return number(code) < 2000; }

ErrorCode error_code(std::string_view word) {
  for (const Entry& candidate : kEntries)
    if (candidate.word == word) return candidate.code;
  return ErrorCode::internal;
}

}  // namespace millrace

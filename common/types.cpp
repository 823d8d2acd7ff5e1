#include "common/types.h"

#include <algorithm>
#include <array>

namespace millrace {
namespace {

constexpr std::array<std::string_view, kJobStateCount> kJobStateNames = {
    "blocked", "scheduled", "ready", "leased", "done", "dead", "cancelled", "expired"};

constexpr bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

}  // namespace

std::string_view to_string(JobState state) {
  return kJobStateNames.at(static_cast<std::size_t>(state));
}

bool parse(std::string_view name, JobState& state) {
  const auto* found = std::find(kJobStateNames.begin(), kJobStateNames.end(), name);
  if (found == kJobStateNames.end()) return false;
  state = static_cast<JobState>(found - kJobStateNames.begin());
  return true;
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), is_name_char);
}

}  // namespace millrace

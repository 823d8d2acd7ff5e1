#include "common/types.h"

#include <algorithm>
#include <array>

namespace millrace {
namespace {

constexpr std::array<std::string_view, kJobStateCount> kJobStateNames = {
    "blocked", "scheduled", "ready", "leased", "done", "dead", "cancelled", "expired"};

constexpr std::array<std::string_view, 3> kUniqueScopeNames = {"queued", "active", "ttl"};
constexpr std::array<std::string_view, 3> kOnConflictNames = {"existing", "reject", "replace"};
constexpr std::array<std::string_view, 3> kOutputTypeNames = {"log", "progress", "chunk"};

template <class Enum, std::size_t Count>
bool parse_word(const std::array<std::string_view, Count>& words, std::string_view word,
                Enum& value) {
  const auto* found = std::find(words.begin(), words.end(), word);
  if (found == words.end()) return false;
  value = static_cast<Enum>(found - words.begin());
  return true;
}

constexpr bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

}  // namespace

std::string_view to_string(JobState state) {
  return kJobStateNames.at(static_cast<std::size_t>(state));
}

bool parse(std::string_view name, JobState& state) {
  return parse_word(kJobStateNames, name, state);
}

std::string_view to_string(UniqueScope scope) {
  return kUniqueScopeNames.at(static_cast<std::size_t>(scope));
}
bool parse(std::string_view name, UniqueScope& scope) {
  return parse_word(kUniqueScopeNames, name, scope);
}
std::string_view to_string(OnConflict conflict) {
  return kOnConflictNames.at(static_cast<std::size_t>(conflict));
}
bool parse(std::string_view name, OnConflict& conflict) {
  return parse_word(kOnConflictNames, name, conflict);
}
std::string_view to_string(OutputType type) {
  return kOutputTypeNames.at(static_cast<std::size_t>(type));
}
bool parse(std::string_view name, OutputType& type) {
  return parse_word(kOutputTypeNames, name, type);
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), is_name_char);
}

}  // namespace millrace

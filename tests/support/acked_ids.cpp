#include "tests/support/acked_ids.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <istream>
#include <nlohmann/json.hpp>
#include <string_view>

namespace millrace {
namespace {

bool parse_id(std::string_view text, JobId& id) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, id.value);
  return error == std::errc{} && stop == end && id;
}

bool parse_object(const std::string& line, std::vector<JobId>& ids) {
  const auto object = nlohmann::json::parse(line, nullptr, false);
  if (!object.is_object() || !object.contains("ids") || !object["ids"].is_array()) return false;
  for (const auto& id : object["ids"]) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() == 0) return false;
    ids.emplace_back(id.get<std::uint64_t>());
  }
  return true;
}

}  // namespace

Result<AckedIds> AckedIds::read(std::istream& lines) {
  AckedIds acked;
  std::string line;
  for (std::size_t number = 1; std::getline(lines, line); ++number) {
    const auto last = line.find_last_not_of(" \t\r");
    if (last == std::string::npos) continue;
    line.resize(last + 1);
    JobId id;
    if (parse_id(line, id)) {
      acked.ids_.push_back(id);
    } else if (!parse_object(line, acked.ids_)) {
      return fail(ErrorCode::bad_data,
                  fmt::format("line {} is neither an id nor an object with `ids`", number));
    }
  }
  acked.sort();
  return acked;
}

void AckedIds::sort() {
  std::sort(ids_.begin(), ids_.end());
  for (std::size_t i = 1; i < ids_.size(); ++i)
    if (ids_[i] == ids_[i - 1]) repeated_.push_back(ids_[i]);
  repeated_.erase(std::unique(repeated_.begin(), repeated_.end()), repeated_.end());
  ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
  found_.assign(ids_.size(), false);
}

bool AckedIds::find(JobId id) {
  const auto at = std::lower_bound(ids_.begin(), ids_.end(), id);
  if (at == ids_.end() || *at != id) return false;
  found_[static_cast<std::size_t>(at - ids_.begin())] = true;
  return true;
}

std::vector<JobId> AckedIds::missing(JobId first) const {
  std::vector<JobId> ids;
  for (std::size_t i = 0; i < ids_.size(); ++i)
    if (!found_[i] && ids_[i] >= first) ids.push_back(ids_[i]);
  return ids;
}

}  // namespace millrace

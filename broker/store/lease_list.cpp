#include "broker/store/lease_list.h"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::broker {
namespace {

constexpr int kBits = 7;
constexpr int kBitsMax = 63;  // an id is stored as a signed number
constexpr std::uint64_t kMore = 1U << kBits;

void sort_distinct(std::vector<JobId>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

}  // namespace

std::string pack_rising(std::span<const JobId> sorted) {
  std::string bytes;
  bytes.reserve(sorted.size() + 8);
  std::uint64_t last = 0;
  for (const JobId id : sorted) {
    std::uint64_t distance = id.value - last;
    last = id.value;
    for (; distance >= kMore; distance >>= kBits)
      bytes.push_back(static_cast<char>(distance | kMore));
    bytes.push_back(static_cast<char>(distance));
  }
  return bytes;
}

bool unpack_rising(std::string_view bytes, std::vector<JobId>& ids) {
  std::uint64_t last = 0;
  std::uint64_t distance = 0;
  int shift = 0;
  for (const char byte : bytes) {
    const auto bits = static_cast<unsigned char>(byte);
    if (shift >= kBitsMax) return false;
    distance |= (bits & (kMore - 1)) << shift;
    shift += kBits;
    if ((bits & kMore) != 0) continue;
    last += distance;
    ids.push_back(JobId{last});
    distance = 0;
    shift = 0;
  }
  return shift == 0;
}

LeaseListReader::LeaseListReader(const sqlite::Connection& connection)
    : rows_(connection, "SELECT id, jobs FROM lease_list ORDER BY id"),
      leased_between_(connection, "SELECT id FROM job WHERE id >= ? AND id <= ? AND state = 3") {}

std::vector<JobId> LeaseListReader::listed() {
  std::vector<JobId> ids;
  auto rows = rows_.run();
  while (rows.next())
    if (!unpack_rising(rows.bytes(1), ids))
      throw StoreError(ErrorCode::corrupt,
                       fmt::format("row {} of the list of leased jobs is damaged; restore a backup",
                                   rows.natural(0)));
  return ids;
}

std::vector<JobId> LeaseListReader::leased_of(std::vector<JobId> ids) {
  // Going on to the next row costs a fourth of looking for one.
  constexpr std::uint64_t kStepsMax = 4;
  sort_distinct(ids);
  std::vector<JobId> leased;
  for (std::size_t first = 0; first < ids.size();) {
    std::size_t last = first;
    while (last + 1 < ids.size() && ids[last + 1].value - ids[last].value <= kStepsMax) ++last;
    auto rows = leased_between_.run(ids[first], ids[last]);
    while (rows.next()) leased.push_back(rows.id<JobId>(0));
    first = last + 1;
  }
  return leased;
}

LeaseList::LeaseList(const sqlite::Connection& connection, std::size_t slack)
    : reader_(connection),
      insert_(connection, "INSERT INTO lease_list (jobs) VALUES (?)"),
      clear_(connection, "DELETE FROM lease_list"),
      slack_(slack) {}

std::vector<JobId> LeaseList::load() {
  std::vector<JobId> listed = reader_.listed();
  size_.listed = listed.size();
  std::vector<JobId> leased = reader_.leased_of(std::move(listed));
  size_.listed_max = 2 * leased.size() + slack_;
  next_ = size_;
  return leased;
}

void LeaseList::write(std::vector<JobId> leased) {
  next_ = size_;
  if (leased.empty()) return;
  next_.listed += leased.size();
  if (next_.listed > next_.listed_max) {
    const std::vector<JobId> listed = reader_.listed();
    leased.insert(leased.end(), listed.begin(), listed.end());
    leased = reader_.leased_of(std::move(leased));
    clear_.execute();
    next_ = {.listed = leased.size(), .listed_max = 2 * leased.size() + slack_};
  } else {
    sort_distinct(leased);
  }
  insert(leased);
}

void LeaseList::insert(std::span<const JobId> sorted) {
  constexpr std::size_t kRowIdsMax = 4096;
  for (std::size_t at = 0; at < sorted.size(); at += kRowIdsMax) {
    const std::size_t count = std::min(kRowIdsMax, sorted.size() - at);
    const std::string bytes = pack_rising(sorted.subspan(at, count));
    insert_.execute(sqlite::Blob{bytes});
  }
}

}  // namespace millrace::broker

#include "common/util/parse.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <limits>
#include <optional>

#include "common/limits.h"

namespace millrace {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::uint64_t kMsPerSecond = 1000;
constexpr std::array<Unit, 5> kDurationUnits{{{"ms", 1},
                                              {"s", kMsPerSecond},
                                              {"m", 60 * kMsPerSecond},
                                              {"h", 3600 * kMsPerSecond},
                                              {"d", 24 * (3600 * kMsPerSecond)}}};
// In the order in which format_size tries them.
constexpr std::array<Unit, 10> kSizeUnits{{{"TiB", 1ULL << 40},
                                           {"TB", 1'000'000'000'000},
                                           {"GiB", 1ULL << 30},
                                           {"GB", 1'000'000'000},
                                           {"MiB", 1ULL << 20},
                                           {"MB", 1'000'000},
                                           {"KiB", 1ULL << 10},
                                           {"KB", 1000},
                                           {"B", 1},
                                           {"", 1}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool equal_any_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

/// Takes the digits at the front of `text`. Nothing when there are none or too many.
std::optional<std::uint64_t> take_digits(std::string_view& text) {
  std::uint64_t value = 0;
  std::size_t used = 0;
  for (; used < text.size() && is_digit(text[used]); ++used) {
    const auto digit = static_cast<std::uint64_t>(text[used] - '0');
    if (value > (std::numeric_limits<std::uint64_t>::max() - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  if (used == 0) return std::nullopt;
  text.remove_prefix(used);
  return value;
}

/// The digits after a point as parts of `factor`; beyond the sixth they change nothing that counts.
std::optional<std::uint64_t> take_fraction(std::string_view& text, std::uint64_t& scale) {
  text.remove_prefix(1);
  if (text.empty() || !is_digit(text.front())) return std::nullopt;
  std::uint64_t value = 0;
  for (scale = 1; !text.empty() && is_digit(text.front()); text.remove_prefix(1)) {
    if (scale >= 1'000'000) continue;
    value = value * 10 + static_cast<std::uint64_t>(text.front() - '0');
    scale *= 10;
  }
  return value;
}

/// `12`, `12unit` or `1.5unit`, in multiples of the smallest unit; nothing when it is not that.
template <std::size_t N>
std::optional<std::uint64_t> parse_quantity(std::string_view text,
                                            const std::array<Unit, N>& units) {
  const auto whole = take_digits(text);
  if (!whole) return std::nullopt;
  std::uint64_t scale = 1;
  std::uint64_t parts = 0;
  if (!text.empty() && text.front() == '.') {
    const auto fraction = take_fraction(text, scale);
    if (!fraction) return std::nullopt;
    parts = *fraction;
  }
  for (const Unit& unit : units) {
    if (!equal_any_case(text, unit.name)) continue;
    constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (*whole > kMax / unit.factor - 1) return std::nullopt;
    // Divided first: parts < 10^6, and the largest factor is 2^40.
    return *whole * unit.factor + parts * (unit.factor / scale) +
           parts * (unit.factor % scale) / scale;
  }
  return std::nullopt;
}

/// Reads a date and time from left to right; any `false` means it is none.
struct TimeReader {
  std::string_view rest;

  bool accept(char c) {
    if (rest.empty() || rest.front() != c) return false;
    rest.remove_prefix(1);
    return true;
  }

  bool number(std::size_t digits, int low, int high, int& value) {
    if (rest.size() < digits) return false;
    value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      if (!is_digit(rest[i])) return false;
      value = value * 10 + (rest[i] - '0');
    }
    rest.remove_prefix(digits);
    return value >= low && value <= high;
  }

  bool date(Duration& since_epoch) {
    int year = 0;
    int month = 0;
    int day = 0;
    if (!number(4, 1970, 9999, year) || !accept('-') || !number(2, 1, 12, month) || !accept('-') ||
        !number(2, 1, 31, day))
      return false;
    const std::chrono::year_month_day ymd{std::chrono::year{year},
                                          std::chrono::month{static_cast<unsigned>(month)},
                                          std::chrono::day{static_cast<unsigned>(day)}};
    since_epoch = std::chrono::sys_days{ymd}.time_since_epoch();
    return ymd.ok();
  }

  bool time_of_day(Duration& since_midnight) {
    int hour = 0;
    int minute = 0;
    int second = 0;
    std::uint64_t parts = 0;
    std::uint64_t scale = 1;
    if (!number(2, 0, 23, hour) || !accept(':') || !number(2, 0, 59, minute)) return false;
    if (accept(':')) {
      if (!number(2, 0, 59, second)) return false;
      if (!rest.empty() && rest.front() == '.') {
        const auto fraction = take_fraction(rest, scale);
        if (!fraction) return false;
        parts = *fraction;
      }
    }
    since_midnight = std::chrono::hours{hour} + std::chrono::minutes{minute} +
                     std::chrono::seconds{second} +
                     Duration{static_cast<std::int64_t>(parts * kMsPerSecond / scale)};
    return true;
  }

  bool zone(Duration& east) {
    east = Duration{0};
    if (rest.empty() || accept('Z') || accept('z')) return true;
    const bool behind = rest.front() == '-';
    if (!accept('+') && !accept('-')) return false;
    int hours = 0;
    int minutes = 0;
    if (!number(2, 0, 14, hours)) return false;
    const bool colon = accept(':');
    if ((colon || !rest.empty()) && !number(2, 0, 59, minutes)) return false;
    east = std::chrono::hours{hours} + std::chrono::minutes{minutes};
    if (behind) east = -east;
    return true;
  }
};

tl::unexpected<Error> no_duration(std::string_view text) {
  return fail(ErrorCode::bad_request,
              fmt::format("`{}` is no duration: write 500ms, 2s, 5m, 1h or 7d", text));
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  if (text == "0") return Duration{0};
  const auto ms = parse_quantity(text, kDurationUnits);
  if (!ms) return no_duration(text);
  if (*ms > static_cast<std::uint64_t>(kDurationMax.count()))
    return fail(ErrorCode::bad_request, fmt::format("`{}` is longer than the limit of {}", text,
                                                    format_duration(kDurationMax)));
  return Duration{static_cast<std::int64_t>(*ms)};
}

std::string format_duration(Duration duration) {
  if (duration.count() == 0) return "0";
  for (auto unit = kDurationUnits.rbegin(); unit != kDurationUnits.rend(); ++unit) {
    const auto factor = static_cast<std::int64_t>(unit->factor);
    if (duration.count() % factor == 0)
      return fmt::format("{}{}", duration.count() / factor, unit->name);
  }
  return fmt::format("{}ms", duration.count());
}

Result<std::uint64_t> parse_size(std::string_view text) {
  if (const auto bytes = parse_quantity(text, kSizeUnits)) return *bytes;
  return fail(ErrorCode::bad_request,
              fmt::format("`{}` is no size: write 100, 64KiB, 512MB or 1GB", text));
}

std::string format_size(std::uint64_t bytes) {
  for (const Unit& unit : kSizeUnits)
    if (unit.factor > 1 && bytes >= unit.factor && bytes % unit.factor == 0)
      return fmt::format("{}{}", bytes / unit.factor, unit.name);
  return fmt::format("{}", bytes);
}

Result<Time> parse_time(std::string_view text) {
  TimeReader reader{text};
  Duration day{};
  Duration clock{};
  Duration east{};
  bool good = reader.date(day);
  if (good && !reader.rest.empty())
    good = (reader.accept('T') || reader.accept('t') || reader.accept(' ')) &&
           reader.time_of_day(clock) && reader.zone(east) && reader.rest.empty();
  const Time time{day + clock - east};
  if (!good || time < Time{})
    return fail(ErrorCode::bad_request,
                fmt::format("`{}` is no time: write 2026-11-21, 2026-11-21T07:00:00Z or "
                            "2026-11-21T08:00:00+01:00",
                            text));
  return time;
}

std::string format_time(Time time) {
  const std::chrono::sys_time<Duration> system{time.time_since_epoch()};
  const auto day = std::chrono::floor<std::chrono::days>(system);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss<Duration> clock{system - day};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

}  // namespace millrace

#include "common/util/parse.h"

#include <gmock/gmock.h>

#include "common/limits.h"

namespace millrace {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;

TEST(ParseDuration, ReadsEveryUnit) {
  EXPECT_EQ(parse_duration("500ms"), Duration{500});
  EXPECT_EQ(parse_duration("2s"), seconds{2});
  EXPECT_EQ(parse_duration("5m"), minutes{5});
  EXPECT_EQ(parse_duration("1h"), hours{1});
  EXPECT_EQ(parse_duration("7d"), days{7});
  EXPECT_EQ(parse_duration("0"), Duration{0});
  EXPECT_EQ(parse_duration("0s"), Duration{0});
  EXPECT_EQ(parse_duration("1.5s"), Duration{1500});
  EXPECT_EQ(parse_duration("0.25m"), seconds{15});
}

TEST(ParseDuration, RefusesWhatIsNoneAndNamesIt) {
  for (const char* text : {"", "5", "-1s", "+1s", "1 s", "s", "1x", "1.s", ".5s", "1e3s", "1s2",
                           "99999999999999999999s", "1sm", "0x10s", "٣s"}) {
    const auto result = parse_duration(text);
    ASSERT_FALSE(result.has_value()) << text;
    EXPECT_THAT(result.error().message, HasSubstr(std::string("`") + text + "`"));
    EXPECT_THAT(result.error().message, HasSubstr("500ms"));
  }
}

TEST(ParseDuration, HasALimit) {
  EXPECT_EQ(parse_duration("3660d"), kDurationMax);
  EXPECT_FALSE(parse_duration("3661d").has_value());
  EXPECT_FALSE(parse_duration("9223372036854775807ms").has_value());
  EXPECT_FALSE(parse_duration("9223372036854775807d").has_value());
}

TEST(FormatDuration, UsesTheLargestExactUnit) {
  for (const char* text : {"0", "500ms", "1500ms", "90s", "5m", "36h", "7d"})
    EXPECT_EQ(format_duration(parse_duration(text).value()), text);
}

TEST(ParseSize, ReadsDecimalAndBinaryUnits) {
  EXPECT_EQ(parse_size("100"), 100U);
  EXPECT_EQ(parse_size("0"), 0U);
  EXPECT_EQ(parse_size("7B"), 7U);
  EXPECT_EQ(parse_size("64KiB"), 65536U);
  EXPECT_EQ(parse_size("64KB"), 64000U);
  EXPECT_EQ(parse_size("64kb"), 64000U);
  EXPECT_EQ(parse_size("512MB"), 512'000'000U);
  EXPECT_EQ(parse_size("1GB"), 1'000'000'000U);
  EXPECT_EQ(parse_size("1.5GiB"), 1'610'612'736U);
  EXPECT_EQ(parse_size("2TiB"), 2ULL << 40);
}

TEST(ParseSize, RefusesTheRest) {
  for (const char* text :
       {"", "-1", "1 KB", "KB", "1K", "1Kib ", "1.KB", "20000000000TiB", "99999999999999999999"}) {
    const auto result = parse_size(text);
    ASSERT_FALSE(result.has_value()) << text;
    EXPECT_THAT(result.error().message, HasSubstr("64KiB"));
  }
}

TEST(FormatSize, UsesTheLargestExactUnit) {
  for (const char* text : {"0", "100", "64KiB", "256MB", "1GB", "1GiB", "3TiB", "1023"})
    EXPECT_EQ(format_size(parse_size(text).value()), text);
}

TEST(ParseTime, ReadsDatesTimesFractionsAndZones) {
  const auto at = [](const char* text) { return format_time(parse_time(text).value()); };
  EXPECT_EQ(at("2026-11-21"), "2026-11-21T00:00:00.000Z");
  EXPECT_EQ(at("2026-11-21T07:00"), "2026-11-21T07:00:00.000Z");
  EXPECT_EQ(at("2026-11-21T07:00:00Z"), "2026-11-21T07:00:00.000Z");
  EXPECT_EQ(at("2026-11-21 07:00:00.25"), "2026-11-21T07:00:00.250Z");
  EXPECT_EQ(at("2026-11-21T07:00:00.123456789z"), "2026-11-21T07:00:00.123Z");
  EXPECT_EQ(at("2026-11-21T07:00:00+01:00"), "2026-11-21T06:00:00.000Z");
  EXPECT_EQ(at("2026-11-21T23:30:00-0130"), "2026-11-22T01:00:00.000Z");
  EXPECT_EQ(at("2026-11-21T07:00:00+02"), "2026-11-21T05:00:00.000Z");
  EXPECT_EQ(at("2024-02-29"), "2024-02-29T00:00:00.000Z");
  EXPECT_EQ(at("1970-01-01"), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(at("9999-12-31T23:59:59.999Z"), "9999-12-31T23:59:59.999Z");
}

TEST(ParseTime, RefusesTheRest) {
  for (const char* text : {"",
                           "now",
                           "2026",
                           "2026-11",
                           "2026-13-01",
                           "2026-02-29",
                           "2026-11-31",
                           "2026-11-21T",
                           "2026-11-21T24:00",
                           "2026-11-21T07",
                           "2026-11-21T07:60",
                           "2026-11-21T07:00:61",
                           "2026-11-21T07:00:00.",
                           "2026-11-21T07:00:00+",
                           "2026-11-21T07:00:00+15:00",
                           "2026-11-21T07:00:00+01:",
                           "2026-11-21T07:00:00ZZ",
                           "1969-12-31",
                           "1970-01-01T00:00+01:00",
                           "2026-11-21Z",
                           "21.11.2026"}) {
    const auto result = parse_time(text);
    ASSERT_FALSE(result.has_value()) << text;
    EXPECT_THAT(result.error().message, HasSubstr("2026-11-21T07:00:00Z"));
  }
}

}  // namespace
}  // namespace millrace

#include "producer/progress.h"

#include <gmock/gmock.h>

namespace millrace::producer {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr ProgressState kHalf{.done = 500, .total = 1000, .failed = 3, .elapsed = Duration{5000}};

TEST(Progress, ShowsBarCountsRateAndFailures) {
  const std::string line = render_progress(kHalf, 79, false);
  EXPECT_THAT(line, StartsWith("[===============               ]"));
  EXPECT_THAT(line, HasSubstr(" 50 % 500/1,000 100.0/s 3 failed"));
}

TEST(Progress, FitsIntoNarrowTerminals) {
  for (std::size_t columns = 1; columns < 90; ++columns)
    EXPECT_LE(render_progress(kHalf, columns, false).size(), columns);
  EXPECT_THAT(render_progress(kHalf, 20, false), Not(HasSubstr("[")));
}

TEST(Progress, ColoursOnlyWhenAsked) {
  EXPECT_THAT(render_progress(kHalf, 79, true), HasSubstr("\x1b[31m 3 failed\x1b[0m"));
  EXPECT_THAT(render_progress(kHalf, 79, false), Not(HasSubstr("\x1b")));
}

TEST(Progress, StandsNothingUnknownOrTooMuch) {
  EXPECT_THAT(render_progress({}, 79, false), HasSubstr("  0 % 0/0"));
  EXPECT_THAT(render_progress({.done = 7, .total = 5}, 79, false), HasSubstr("100 % 5/5"));
}

}  // namespace
}  // namespace millrace::producer

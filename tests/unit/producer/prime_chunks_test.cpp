#include "producer/prime_chunks.h"

#include <gmock/gmock.h>

namespace millrace::producer {
namespace {

using testing::HasSubstr;

PrimeChunks chunks(std::string_view from, std::string_view to, std::uint64_t chunk = 0,
                   bool list = false) {
  return PrimeChunks::make(from, to, chunk, list).value();
}

TEST(PrimeChunks, ChoosesTheSizeByTheRange) {
  EXPECT_EQ(chunks("1", "100000").chunk(), kChunkMin);
  EXPECT_EQ(chunks("0", "25600000").chunk(), 100'000U);
  EXPECT_EQ(chunks("0", "1000000000").chunk(), 3'906'250U);
  EXPECT_EQ(chunks("0", "4799999999").chunk(), 18'749'999U);
  EXPECT_EQ(chunks("1", "10000000000").chunk(), kChunkMax);
  EXPECT_EQ(chunks("0", "9223372036854775807").chunk(), kChunkMax);
  EXPECT_EQ(chunks("0", "1000000000", 0, true).chunk(), kChunkListMax);
  EXPECT_EQ(chunks("1", "100", 7).chunk(), 7U);
}

TEST(PrimeChunks, CoverTheRangeWithoutGapOrOverlap) {
  for (const std::uint64_t size : {1U, 3U, 10U, 11U, 100U}) {
    const PrimeChunks cut = chunks("5", "104", size);
    std::uint64_t next = 5;
    for (std::uint64_t i = 0; i < cut.count(); ++i) {
      EXPECT_EQ(cut.at(i).from, next);
      EXPECT_LE(cut.at(i).to - cut.at(i).from + 1, size);
      next = cut.at(i).to + 1;
    }
    EXPECT_EQ(next, 105U);
  }
}

TEST(PrimeChunks, WorkAtTheUpperEndOfTheNumbers) {
  const PrimeChunks one = chunks("9223372036854775807", "9223372036854775807");
  EXPECT_EQ(one.count(), 1U);
  EXPECT_EQ(one.at(0).to, 9223372036854775807U);
  const PrimeChunks huge = chunks("0", "9223372036854775807", 9223372036854775807U);
  EXPECT_EQ(huge.count(), 2U);
  EXPECT_EQ(huge.at(0).to, 9223372036854775806U);
  EXPECT_EQ(huge.at(1).from, 9223372036854775807U);
  EXPECT_EQ(huge.at(1).to, 9223372036854775807U);
}

TEST(PrimeChunks, RefuseWhatIsNoRange) {
  const auto message = [](std::string_view from, std::string_view to, std::uint64_t chunk = 0,
                          bool list = false) {
    const auto result = PrimeChunks::make(from, to, chunk, list);
    EXPECT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, ErrorCode::usage);
    return result.error().message;
  };
  EXPECT_THAT(message("10", "9"), HasSubstr("FROM 10 is greater than TO 9"));
  EXPECT_THAT(message("-1", "9"), HasSubstr("negative"));
  EXPECT_THAT(message("1", "9223372036854775808"), HasSubstr("too large"));
  EXPECT_THAT(message("1", "99999999999999999999999"), HasSubstr("too large"));
  for (const char* text : {"", "x", "1e6", "1.5", "+1", " 1", "1 ", "1,000"})
    EXPECT_THAT(message(text, "9"), HasSubstr("no whole number")) << text;
  EXPECT_THAT(message("1", "9", 50'001, true), HasSubstr("--list"));
}

}  // namespace
}  // namespace millrace::producer

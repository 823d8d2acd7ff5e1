#include "common/util/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::log {
namespace {

TEST(Log, KnowsItsLevels) {
  EXPECT_EQ(parse_level("debug").value(), Level::debug);
  EXPECT_EQ(parse_level("error").value(), Level::error);
  const auto wrong = parse_level("loud");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("loud"), std::string::npos);
}

TEST(Log, KeepsAnEventOnOneLine) {
  EXPECT_EQ(one_line("a\nb\x1b[31m\x7f é"), "a\\nb\\x1b[31m\\x7f é");
}

TEST(Log, WritesPlainLinesWithUtcTimes) {
  init(Level::info, Format::plain);
  testing::internal::CaptureStderr();

  debug("too quiet");
  info("job {} done", 7);
  warn("two\nlines");

  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, testing::MatchesRegex("[0-9]+-[0-9]+-[0-9]+T[0-9:.]+Z info job 7 done\n"
                                          "[0-9]+-[0-9]+-[0-9]+T[0-9:.]+Z warning two.nlines\n"));
}

TEST(Log, TellsWhatIsWritten) {
  init(Level::warn, Format::plain);

  EXPECT_FALSE(enabled(Level::info));
  EXPECT_TRUE(enabled(Level::error));
  init(Level::info, Format::plain);
}

}  // namespace
}  // namespace millrace::log

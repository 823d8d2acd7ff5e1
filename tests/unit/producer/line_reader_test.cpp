#include "producer/line_reader.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

namespace millrace::producer {
namespace {

using testing::ElementsAre;

class LineReaderTest : public testing::Test {
 protected:
  ~LineReaderTest() override { unlink(path_.c_str()); }

  /// What the reader makes of a file: lines with their numbers, `!` for one that is too long.
  std::vector<std::string> read(const std::string& content, std::size_t line_bytes_max = 1000) {
    std::ofstream(path_, std::ios::binary) << content;
    LineReader reader(line_bytes_max);
    EXPECT_TRUE(reader.open(path_).has_value());
    std::vector<std::string> lines;
    while (true) {
      switch (reader.next()) {
        case LineReader::Got::line:
          lines.push_back(std::to_string(reader.number()) + ":" + std::string(reader.line()));
          break;
        case LineReader::Got::too_long:
          lines.push_back(std::to_string(reader.number()) + "!");
          break;
        case LineReader::Got::idle:
          ADD_FAILURE() << "a file is never idle";
          return lines;
        case LineReader::Got::end:
          return lines;
      }
    }
  }

  const std::string path_ = testing::TempDir() + "line_reader_" + std::to_string(getpid());
};

TEST_F(LineReaderTest, SplitsLinesOfBothKinds) {
  EXPECT_THAT(read("a\nb\r\n\nc\n"), ElementsAre("1:a", "2:b", "3:", "4:c"));
}

TEST_F(LineReaderTest, TakesALastLineWithoutItsEnd) {
  EXPECT_THAT(read("a\nb"), ElementsAre("1:a", "2:b"));
  EXPECT_THAT(read(""), testing::IsEmpty());
  EXPECT_THAT(read("\n"), ElementsAre("1:"));
}

TEST_F(LineReaderTest, DropsAByteOrderMarkAtTheFrontOnly) {
  EXPECT_THAT(read("\xEF\xBB\xBF"
                   "a\n\xEF\xBB\xBF"
                   "b\n"),
              ElementsAre("1:a",
                          "2:\xEF\xBB\xBF"
                          "b"));
}

TEST_F(LineReaderTest, SkipsLinesThatAreTooLong) {
  const std::string huge(500'000, 'x');
  EXPECT_THAT(read("a\n" + huge + "\nb\n" + huge, 10), ElementsAre("1:a", "2!", "3:b", "4!"));
  EXPECT_THAT(read("0123456789\r\n01234567890\n", 10), ElementsAre("1:0123456789", "2!"));
}

TEST_F(LineReaderTest, ReadsLinesAcrossBuffers) {
  std::string content;
  std::vector<std::string> expected;
  for (int i = 1; i <= 20'000; ++i) {
    const std::string line(static_cast<std::size_t>(i % 97), 'y');
    content += line + "\n";
    expected.push_back(std::to_string(i) + ":" + line);
  }
  EXPECT_EQ(read(content), expected);
}

TEST_F(LineReaderTest, SaysWhenThereIsNoInput) {
  for (const std::string& path : {path_ + ".missing", testing::TempDir()}) {
    LineReader reader(10);
    const Status opened = reader.open(path);
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().code, ErrorCode::no_input);
    EXPECT_THAT(opened.error().message, testing::HasSubstr(path));
  }
}

}  // namespace
}  // namespace millrace::producer

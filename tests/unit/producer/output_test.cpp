#include "producer/output.h"

#include <gmock/gmock.h>

#include <functional>

namespace millrace::producer {
namespace {

std::string written(OutputFormat format, const std::function<void(Output&)>& act) {
  testing::internal::CaptureStdout();
  {
    Output output(format);
    act(output);
  }
  return testing::internal::GetCapturedStdout();
}

TEST(Output, JsonIsOneArrayAndJsonLinesARowEach) {
  const auto two_rows = [](Output& output) { output.row("{}"), output.row("[1]"); };
  EXPECT_EQ(written(OutputFormat::json, two_rows), "[{},\n[1]]\n");
  EXPECT_EQ(written(OutputFormat::jsonl, two_rows), "{}\n[1]\n");
  EXPECT_EQ(written(OutputFormat::json, [](Output&) {}), "[]\n");
  EXPECT_EQ(written(OutputFormat::jsonl, [](Output&) {}), "");
}

TEST(Output, TableColumnsAreAsWideAsTheirWidestCell) {
  const auto table = [](Output& output) {
    Table rows({">N", "NAME", "X"});
    rows.add({"7", "ä", ""});
    rows.add({"1234", "longer", "y\n\x1b[2Jz"});
    rows.print(output);
  };
  EXPECT_EQ(written(OutputFormat::table, table),
            "   N  NAME    X\n"
            "   7  ä\n"
            "1234  longer  y [2Jz\n");
}

TEST(Printable, DropsWhatCouldChangeATerminal) {
  EXPECT_EQ(printable("a\x1b[31mb"), "a[31mb");
  EXPECT_EQ(printable("a\tb\nc\rd\x7f"), "a b cd");
  EXPECT_EQ(printable("a\xc2\x9b"
                      "31mb"),
            "a31mb");
  EXPECT_EQ(printable("a\xff\xc3\xa4"), "aä");
}

TEST(Format, CountsElapsedAndRates) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(1, "job"), "1 job");
  EXPECT_EQ(format_count(2000, "url"), "2,000 urls");
  EXPECT_EQ(format_elapsed(Duration{999}), "999 ms");
  EXPECT_EQ(format_elapsed(Duration{12'400}), "12.4 s");
  EXPECT_EQ(format_elapsed(Duration{185'000}), "3 min 05 s");
  EXPECT_EQ(format_elapsed(Duration{3'720'000}), "1 h 02 min");
  EXPECT_EQ(format_rate(1000, Duration{12'400}), "80.6/s");
  EXPECT_EQ(format_rate(50'000, Duration{2'000}), "25,000/s");
  EXPECT_EQ(format_rate(3, Duration{0}), "3,000/s");
}

}  // namespace
}  // namespace millrace::producer

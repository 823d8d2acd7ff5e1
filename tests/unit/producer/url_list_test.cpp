#include "producer/url_list.h"

#include <gmock/gmock.h>

namespace millrace::producer {
namespace {

std::string url_on(std::string_view line) {
  std::string_view url;
  return read_url_line(line, url) == UrlLine::url ? std::string(url) : "none";
}

TEST(UrlLine, TakesHttpAndHttpsWithoutTheSpaceAround) {
  EXPECT_EQ(url_on("http://a"), "http://a");
  EXPECT_EQ(url_on("https://a/b?c=d#e"), "https://a/b?c=d#e");
  EXPECT_EQ(url_on("  http://a \t\r"), "http://a");
  EXPECT_EQ(url_on("HTTPS://A/"), "HTTPS://A/");
  EXPECT_EQ(url_on("http://a/with space"), "http://a/with space");
}

TEST(UrlLine, SkipsBlankLinesAndComments) {
  std::string_view url;
  for (const char* line : {"", "  ", "\r", "# http://a", "  #x"})
    EXPECT_EQ(read_url_line(line, url), UrlLine::skip) << line;
}

TEST(UrlLine, SaysWhatIsWrongWithTheRest) {
  std::string_view why;
  for (const char* line : {"ftp://a", "a.example", "//a", "http:/a", "xhttp://a", "http//a", "-"}) {
    EXPECT_EQ(read_url_line(line, why), UrlLine::bad) << line;
    EXPECT_THAT(why, testing::HasSubstr("http://"));
  }
  for (const char* line : {"http://", "https:///path", "http://?q"}) {
    EXPECT_EQ(read_url_line(line, why), UrlLine::bad) << line;
    EXPECT_THAT(why, testing::HasSubstr("host"));
  }
  EXPECT_EQ(read_url_line("http://a/\xFF", why), UrlLine::bad);
  EXPECT_THAT(why, testing::HasSubstr("UTF-8"));
}

TEST(UrlBook, FindsTheUrlOfAJob) {
  UrlBook book;
  for (int i = 0; i < 1000; ++i)
    EXPECT_EQ(book.add("http://host/" + std::string(static_cast<std::size_t>(i % 7), 'x') +
                       std::to_string(i)),
              static_cast<std::uint64_t>(i));
  // The second request was acknowledged before the first, with lower ids.
  book.enqueued(JobId{5000}, 600, 0);
  book.enqueued(JobId{100}, 400, 600);

  EXPECT_EQ(book.url_of(JobId{5000}), "http://host/0");
  EXPECT_EQ(book.url_of(JobId{5599}), "http://host/xxxx599");
  EXPECT_EQ(book.url_of(JobId{100}), "http://host/xxxxx600");
  EXPECT_EQ(book.url_of(JobId{499}), book.at(999));
  for (const std::uint64_t stranger : {99U, 500U, 4999U, 5600U})
    EXPECT_EQ(book.url_of(JobId{stranger}), "");
}

}  // namespace
}  // namespace millrace::producer

#include "common/retry.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

using namespace std::chrono_literals;

RetryPolicy policy(std::string_view text) { return parse_retry(text).value(); }

TEST(Retry, ExponentialDoublesUpToItsCap) {
  const RetryPolicy doubled = policy("exponential:1s cap:5s jitter:0");

  EXPECT_EQ(doubled.delay(1, 0), 1s);
  EXPECT_EQ(doubled.delay(2, 0), 2s);
  EXPECT_EQ(doubled.delay(3, 0), 4s);
  EXPECT_EQ(doubled.delay(4, 0), 5s);
  EXPECT_EQ(doubled.delay(1000, 0), 5s);
}

TEST(Retry, LinearGrowsByItsFirstDelay) {
  const RetryPolicy grown = policy("linear:2s jitter:0");

  EXPECT_EQ(grown.delay(1, 0), 2s);
  EXPECT_EQ(grown.delay(3, 0), 6s);
  EXPECT_EQ(grown.delay(1'000'000, 0), kBackoffMax);
}

TEST(Retry, AListStaysAtItsLastDelay) {
  const RetryPolicy listed = policy("1s,5s,0 jitter:0");

  EXPECT_EQ(listed.delay(1, 0), 1s);
  EXPECT_EQ(listed.delay(2, 0), 5s);
  EXPECT_EQ(listed.delay(9, 0), 0s);
}

TEST(Retry, JitterTakesItsShareFromTheEnd) {
  EXPECT_EQ(policy("10s jitter:100").delay(1, 0), 0s);
  EXPECT_EQ(policy("10s jitter:100").delay(1, 0.5), 5s);
  EXPECT_EQ(policy("10s jitter:50").delay(1, 0), 5s);
  EXPECT_EQ(policy("10s").delay(1, 0), 5s);  // as without a word
}

TEST(Retry, AFirstDelayAboveTheUsualCapRaisesIt) {
  EXPECT_EQ(policy("exponential:1h jitter:0").delay(1, 0), 1h);
  EXPECT_EQ(policy("exponential:1h jitter:0").delay(5, 0), 1h);
}

TEST(Retry, WhatIsWrittenIsReadAgain) {
  for (const char* text : {"exponential:1s", "linear:5s cap:1m jitter:100", "1s,5s,30s",
                           "exponential:2s cap:10s jitter:0"})
    EXPECT_EQ(format_retry(policy(text)), text);
}

TEST(Retry, NonsenseIsNamed) {
  for (const char* text : {"", " ", "sometimes", "linear:", "exponential:1s linear:2s", "cap:x",
                           "jitter:101", "jitter:-1", "jitter:", "1s,", "1s cap:2s", "2s,x",
                           "exponential:10s cap:1s", "cap:1s cap:2s"})
    EXPECT_FALSE(parse_retry(text)) << text;
}

TEST(Retry, AListMayNotBeEndless) {
  std::string text = "1s";
  for (std::size_t i = 1; i < kRetryDelaysMax; ++i) text += ",1s";
  EXPECT_TRUE(parse_retry(text));
  EXPECT_FALSE(parse_retry(text + ",1s"));
}

}  // namespace
}  // namespace millrace

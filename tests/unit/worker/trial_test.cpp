#include "worker/trial.h"

#include <gtest/gtest.h>

namespace millrace::worker {
namespace {

TEST(Trial, NamesAKindAndTheWayToRunIt) {
  const auto alone = parse_trial("sum inline");
  ASSERT_TRUE(alone);
  EXPECT_EQ(alone->kind, "sum");
  EXPECT_FALSE(alone->choice);

  const auto threads = parse_trial("sum thread:3 ipc:///tmp/with space/socket");
  ASSERT_TRUE(threads);
  EXPECT_EQ(threads->choice->kind, "sum");
  EXPECT_EQ(threads->choice->type, ExecutorType::thread);
  EXPECT_EQ(threads->choice->size, 3U);
  EXPECT_EQ(threads->endpoint, "ipc:///tmp/with space/socket");

  const auto loop = parse_trial("sum loop ipc:///tmp/socket");
  ASSERT_TRUE(loop);
  EXPECT_FALSE(loop->choice->size);
}

TEST(Trial, WhatIsNoTrialIsRefused) {
  for (const char* text :
       {"", "sum", "sum thread", "sum elsewhere ipc:///x", "sum thread:0 ipc:///x"})
    EXPECT_FALSE(parse_trial(text)) << text;
}

}  // namespace
}  // namespace millrace::worker

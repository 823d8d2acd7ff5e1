#include "worker/credit.h"

#include <gtest/gtest.h>

namespace millrace::worker {
namespace {

using std::chrono::microseconds;

/// A pool that has been told by RESUMED that nothing was delivered yet.
Credit fresh(std::uint64_t slots) {
  Credit credit(slots);
  credit.learn_numbers(0);
  return credit;
}

void measure_many(Credit& credit, microseconds run, int times) {
  for (int i = 0; i < times; ++i) credit.measure(run);
}

TEST(Credit, SaysNothingBeforeTheNumbersAreKnown) {
  Credit credit(4);
  credit.raise();

  EXPECT_EQ(credit.upto(), std::nullopt);
  EXPECT_FALSE(credit.is_due());
}

TEST(Credit, BeginsWithOneDeliveryForEachSlot) {
  Credit credit = fresh(4);

  EXPECT_EQ(credit.upto(), 4U);
  EXPECT_TRUE(credit.is_due());
}

TEST(Credit, RisesWhenADeliveryIsOverAndNotWhenItArrives) {
  Credit credit = fresh(2);
  credit.deliver(1);
  credit.deliver(2);
  credit.raise();
  EXPECT_EQ(credit.upto(), 2U);

  credit.finish();
  credit.raise();

  EXPECT_EQ(credit.upto(), 3U);
}

TEST(Credit, AnOutcomeThatIsNotSettledCountsAsOver) {
  Credit credit = fresh(2);
  credit.deliver(1);
  credit.deliver(2);

  credit.answer();
  credit.raise();

  EXPECT_EQ(credit.upto(), 3U);
  credit.settle();
  credit.raise();
  EXPECT_EQ(credit.upto(), 3U) << "it is not counted twice";
}

TEST(Credit, AboveAWindowOfUnsettledOutcomesCreditWaitsForThem) {
  Credit credit = fresh(2);
  for (std::uint64_t number = 1; number <= 4; ++number) {
    credit.deliver(number);
    credit.answer();
    credit.raise();
  }
  EXPECT_EQ(credit.upto(), 4U);

  credit.settle();
  credit.raise();

  EXPECT_EQ(credit.upto(), 5U);
}

TEST(Credit, IsNotDueAgainUntilItHasRisen) {
  Credit credit = fresh(2);
  credit.told();
  EXPECT_FALSE(credit.is_due());

  credit.deliver(1);
  credit.finish();
  credit.raise();

  EXPECT_TRUE(credit.is_due());
}

TEST(Credit, CountsALostMessageAsOver) {
  Credit credit = fresh(2);
  credit.deliver(1);
  credit.deliver(6);  // 2 … 5 never came
  credit.raise();

  EXPECT_EQ(credit.upto(), 6U);  // 4 over, 2 held, 2 slots
}

TEST(Credit, BeginsAnewWithASessionThatTheBrokerDoesNotKnow) {
  Credit credit = fresh(3);
  for (std::uint64_t number = 1; number <= 10; ++number) {
    credit.deliver(number);
    if (number <= 8) credit.finish();
  }
  credit.raise();
  EXPECT_EQ(credit.upto(), 11U);

  credit.forget_numbers();
  EXPECT_EQ(credit.upto(), std::nullopt);
  credit.learn_numbers(2);  // both leases were kept and have the numbers 1 and 2

  EXPECT_EQ(credit.upto(), 3U);  // two slots are taken, one is free
}

TEST(Credit, WaitsForTheSlotOfARunWhoseLeaseWasDropped) {
  Credit credit = fresh(2);
  credit.deliver(1);
  credit.deliver(2);
  credit.forget_numbers();
  credit.learn_numbers(0);  // both dropped, both still running
  EXPECT_EQ(credit.upto(), 0U);

  credit.finish();
  credit.raise();

  EXPECT_EQ(credit.upto(), 1U);
}

TEST(Credit, IsNotLoweredByDeliveriesThatArriveBehindResumed) {
  Credit credit = fresh(2);
  credit.deliver(1);
  credit.learn_numbers(5);  // 2 … 5 are still on their way
  const auto before = credit.upto();

  for (std::uint64_t number = 2; number <= 5; ++number) credit.deliver(number);
  credit.raise();

  EXPECT_EQ(credit.upto(), before);
}

TEST(Credit, PrefetchesFiftyMillisecondsOfWork) {
  Credit credit = fresh(4);
  measure_many(credit, microseconds{10'000}, 200);
  credit.raise();

  EXPECT_EQ(credit.prefetch(), 20U);  // 4 slots · 50 ms / 10 ms
  EXPECT_EQ(credit.upto(), 24U);
}

TEST(Credit, PrefetchesNothingForLongRuns) {
  Credit credit = fresh(4);
  measure_many(credit, microseconds{2'000'000}, 50);

  EXPECT_EQ(credit.prefetch(), 0U);
}

TEST(Credit, PrefetchGrowsByOneARunAtMost) {
  Credit credit = fresh(4);
  measure_many(credit, microseconds{1}, 3);

  EXPECT_EQ(credit.prefetch(), 3U);
}

TEST(Credit, PrefetchShrinksAtOnceWhenRunsBecomeLong) {
  Credit credit = fresh(4);
  measure_many(credit, microseconds{100}, 1000);
  EXPECT_EQ(credit.prefetch(), kPrefetchMax);

  credit.measure(microseconds{1'000'000});

  EXPECT_EQ(credit.prefetch(), 0U);
}

TEST(Credit, KeepsWithinTheWindowTheBrokerAllows) {
  Credit credit = fresh(4);
  measure_many(credit, microseconds{1}, 2000);
  credit.limit(100);
  credit.raise();

  EXPECT_EQ(credit.upto(), 100U);
}

TEST(Credit, TellsOnlyEveryQuarterOfThePrefetch) {
  Credit credit = fresh(1);
  measure_many(credit, microseconds{500}, 1000);  // prefetch 100
  credit.raise();
  credit.told();
  std::uint64_t number = 0;
  const auto one_over = [&] {
    credit.deliver(++number);
    credit.finish();
    credit.raise();
  };

  for (int i = 0; i < 25; ++i) one_over();
  EXPECT_FALSE(credit.is_due());
  one_over();
  EXPECT_TRUE(credit.is_due());
}

TEST(Credit, ASmallWindowIsToldByQuartersToo) {
  Credit credit = fresh(2);
  measure_many(credit, microseconds{1}, 2000);  // prefetch 1000
  credit.limit(50);
  credit.raise();
  credit.told();

  for (std::uint64_t number = 1; number <= 13; ++number) {
    credit.deliver(number);
    credit.finish();
    credit.raise();
  }

  EXPECT_TRUE(credit.is_due()) << "more than a quarter of 48 is free, and nobody was told";
}

}  // namespace
}  // namespace millrace::worker

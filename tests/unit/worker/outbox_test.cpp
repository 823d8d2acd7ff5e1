#include "worker/outbox.h"

#include <gtest/gtest.h>

namespace millrace::worker {
namespace {

protocol::Outcome outcome(std::uint64_t lease, std::size_t bytes = 0) {
  protocol::Outcome item;
  item.lease = LeaseId{lease};
  item.job = JobId{lease};
  item.result = Payload::text(std::string(bytes, 'x'));
  return item;
}

TEST(Outbox, GathersOneParcelForEachVerb) {
  Outbox outbox;
  outbox.add(Verb::ack, outcome(1));
  outbox.add(Verb::nack, outcome(2));
  outbox.add(Verb::ack, outcome(3));

  const auto parcels = outbox.pack(Instant{});

  ASSERT_EQ(parcels.size(), 2U);
  EXPECT_EQ(parcels[0].items.size(), 2U);
  EXPECT_EQ(parcels[1].verb, Verb::nack);
  EXPECT_TRUE(outbox.pack(Instant{}).empty());
}

TEST(Outbox, SplitsByItems) {
  Outbox outbox;
  for (std::uint64_t i = 1; i <= kParcelItemsMax + 1; ++i) outbox.add(Verb::ack, outcome(i));

  const auto parcels = outbox.pack(Instant{});

  ASSERT_EQ(parcels.size(), 2U);
  EXPECT_EQ(parcels[0].items.size(), kParcelItemsMax);
  EXPECT_EQ(parcels[1].items.size(), 1U);
}

TEST(Outbox, SplitsByBytes) {
  Outbox outbox;
  for (std::uint64_t i = 1; i <= 5; ++i) outbox.add(Verb::ack, outcome(i, 256 * kKiB));

  for (const auto& parcel : outbox.pack(Instant{})) EXPECT_LE(parcel.bytes, kParcelBytesMax);
}

TEST(Outbox, CountsBytesAndResultsUntilSettled) {
  Outbox outbox;
  outbox.add(Verb::ack, outcome(1, 1000));
  outbox.add(Verb::release, outcome(2));
  EXPECT_GE(outbox.bytes(), 1000U);
  EXPECT_EQ(outbox.results(), 1U);
  std::uint64_t correlation = 10;
  for (auto& parcel : outbox.pack(Instant{})) outbox.keep(correlation++, std::move(parcel));

  EXPECT_TRUE(outbox.take(10));
  EXPECT_TRUE(outbox.take(11));

  EXPECT_EQ(outbox.bytes(), 0U);
  EXPECT_EQ(outbox.results(), 0U);
  EXPECT_FALSE(outbox.take(10));
}

TEST(Outbox, GivesAPostponedParcelOutAgainWhenDue) {
  Outbox outbox;
  outbox.add(Verb::ack, outcome(1, 10));
  outbox.keep(7, std::move(outbox.pack(Instant{}).at(0)));
  const std::size_t bytes = outbox.bytes();

  EXPECT_FALSE(outbox.postpone(8, Instant{Duration{100}}));
  EXPECT_TRUE(outbox.postpone(7, Instant{Duration{100}}));

  EXPECT_EQ(outbox.next_due(), Instant{Duration{100}});
  EXPECT_TRUE(outbox.pack(Instant{Duration{99}}).empty());
  EXPECT_EQ(outbox.pack(Instant{Duration{100}}).size(), 1U);
  EXPECT_EQ(outbox.bytes(), bytes);
}

TEST(Outbox, AHeldOutcomeCountsButDoesNotLeave) {
  Outbox outbox;
  outbox.hold(Verb::nack, outcome(1, 1000));
  EXPECT_TRUE(outbox.pack(Instant{}).empty());
  EXPECT_GE(outbox.bytes(), 1000U);
  EXPECT_EQ(outbox.results(), 1U);

  const auto held = outbox.take_held(LeaseId{1});

  ASSERT_TRUE(held);
  EXPECT_EQ(held->verb, Verb::nack);
  EXPECT_EQ(held->outcome.result.size(), 1000U);
  EXPECT_EQ(outbox.bytes(), 0U);
  EXPECT_EQ(outbox.results(), 0U);
  EXPECT_FALSE(outbox.take_held(LeaseId{1}));
}

TEST(Outbox, DropsAHeldOutcome) {
  Outbox outbox;
  outbox.hold(Verb::ack, outcome(1, 10));

  EXPECT_EQ(outbox.drop(LeaseId{1}), std::nullopt);

  EXPECT_EQ(outbox.bytes(), 0U);
  EXPECT_EQ(outbox.results(), 0U);
}

TEST(Outbox, NamesTheRequestThatHasNoLeaseLeft) {
  Outbox outbox;
  outbox.add(Verb::ack, outcome(1));
  outbox.add(Verb::ack, outcome(2));
  outbox.keep(7, std::move(outbox.pack(Instant{}).at(0)));

  EXPECT_EQ(outbox.drop(LeaseId{1}), std::nullopt);
  EXPECT_EQ(outbox.drop(LeaseId{9}), std::nullopt);
  EXPECT_EQ(outbox.drop(LeaseId{2}), 7U);

  EXPECT_EQ(outbox.bytes(), 0U);
  EXPECT_EQ(outbox.results(), 0U);
}

}  // namespace
}  // namespace millrace::worker

#include "worker/lease_book.h"

#include <gtest/gtest.h>

namespace millrace::worker {
namespace {

using State = HeldLease::State;

protocol::Delivery delivery(std::uint64_t lease) {
  protocol::Delivery made;
  made.lease = LeaseId{lease};
  made.job = JobId{lease + 100};
  return made;
}

TEST(LeaseBook, HashIsThatOfTheHeldLeasesInAnyOrder) {
  LeaseBook book;
  book.add(delivery(1), 0);
  book.add(delivery(2), 0);
  book.add(delivery(3), 0);
  book.erase(LeaseId{2});

  EXPECT_EQ(book.held(), 2U);
  EXPECT_EQ(book.held_hash(), protocol::lease_hash(LeaseId{3}) ^ protocol::lease_hash(LeaseId{1}));
}

TEST(LeaseBook, RefusesALeaseTwice) {
  LeaseBook book;
  EXPECT_NE(book.add(delivery(1), 0), nullptr);
  EXPECT_EQ(book.add(delivery(1), 0), nullptr);
  EXPECT_EQ(book.held(), 1U);
}

TEST(LeaseBook, ARevokedRunIsNotHeldButRunning) {
  LeaseBook book;
  HeldLease* held = book.add(delivery(1), 0);
  book.start(*held, Instant{});
  book.revoke(*held);

  EXPECT_EQ(book.held(), 0U);
  EXPECT_EQ(book.held_hash(), 0U);
  EXPECT_EQ(book.running(), 1U);
  EXPECT_TRUE(book.list(Instant{}).empty());

  book.erase(LeaseId{1});
  EXPECT_EQ(book.running(), 0U);
}

TEST(LeaseBook, ListTellsWhatStartedAndForHowLong) {
  LeaseBook book;
  book.add(delivery(3), 0);
  book.start(*book.add(delivery(2), 0), Instant{Duration{1000}});
  HeldLease* ended = book.add(delivery(1), 0);
  book.start(*ended, Instant{Duration{1000}});
  book.end(*ended, Duration{70});

  const auto list = book.list(Instant{Duration{1500}});

  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list[0].lease, LeaseId{1});
  EXPECT_EQ(list[0].job, JobId{101});
  EXPECT_TRUE(list[0].started);
  EXPECT_EQ(list[0].elapsed, Duration{70});
  EXPECT_EQ(list[1].elapsed, Duration{500});
  EXPECT_FALSE(list[2].started);
}

}  // namespace
}  // namespace millrace::worker

// Against an endpoint where nobody listens: what is sent waits there, and answers are made here.

#include "producer/job_awaits.h"

#include <gmock/gmock.h>

namespace millrace::producer {
namespace {

constexpr Instant kNow{Duration{1'000'000}};

class JobAwaitsTest : public testing::Test {
 protected:
  /// Correlations are given in the order of sending, from 1.
  net::Replied answer(std::uint64_t correlation, protocol::Message message) {
    return {correlation, std::move(message)};
  }
  net::Replied ended(std::uint64_t correlation, JobId job) {
    protocol::Results results;
    results.rows.push_back({.job = job, .kind = "echo", .result = {}, .error = "", .cursor = {}});
    return answer(correlation, std::move(results));
  }
  net::Replied refused(std::uint64_t correlation, ErrorCode code, Duration after = {}) {
    return answer(correlation, protocol::make_error({code, "no", after}));
  }

  Client client_{{.broker = "tcp://127.0.0.1:1", .name = "test"}};
  std::uint64_t before_ = client_.send(protocol::Stats{});  // correlations go on from here
  JobAwaits awaits_;
};

TEST_F(JobAwaitsTest, AJobIsAwaitedOnce) {
  EXPECT_TRUE(awaits_.add(JobId{7}));
  EXPECT_FALSE(awaits_.add(JobId{7}));
  EXPECT_EQ(awaits_.total(), 1U);
  EXPECT_EQ(awaits_.open(), 1U);
}

TEST_F(JobAwaitsTest, ItsAnswerIsKnownAmongOthers) {
  awaits_.add(JobId{7});
  awaits_.send_due(client_, kNow);
  auto other = ended(before_, JobId{7});
  EXPECT_FALSE(awaits_.take(other, kNow));

  auto reply = ended(before_ + 1, JobId{7});
  const auto taken = awaits_.take(reply, kNow);

  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->job, JobId{7});
  ASSERT_TRUE(taken->row);
  EXPECT_EQ(taken->row->job, JobId{7});
  EXPECT_EQ(awaits_.open(), 0U);
}

TEST_F(JobAwaitsTest, AJobThatIsNotThereIsAnAnswerToo) {
  awaits_.add(JobId{7});
  awaits_.send_due(client_, kNow);

  auto reply = refused(before_ + 1, ErrorCode::not_found);
  const auto taken = awaits_.take(reply, kNow);

  ASSERT_TRUE(taken);
  ASSERT_FALSE(taken->row);
  EXPECT_EQ(taken->row.error().code, ErrorCode::not_found);
  EXPECT_EQ(awaits_.open(), 0U);
}

TEST_F(JobAwaitsTest, ABusyBrokerIsAskedAgainInItsTime) {
  awaits_.add(JobId{7});
  awaits_.send_due(client_, kNow);
  auto busy = refused(before_ + 1, ErrorCode::busy, Duration{1000});
  EXPECT_FALSE(awaits_.take(busy, kNow));
  EXPECT_EQ(awaits_.open(), 1U);

  awaits_.send_due(client_, kNow + Duration{999});
  auto early = ended(before_ + 2, JobId{7});
  EXPECT_FALSE(awaits_.take(early, kNow));
  awaits_.send_due(client_, kNow + Duration{1000});

  EXPECT_TRUE(awaits_.take(early, kNow));
}

TEST_F(JobAwaitsTest, OnlySoManyAreUnderWay) {
  for (std::uint64_t i = 1; i <= JobAwaits::kUnderWayMax + 1; ++i) awaits_.add(JobId{i});
  awaits_.send_due(client_, kNow);
  const std::uint64_t beyond = before_ + JobAwaits::kUnderWayMax + 1;
  auto late = ended(beyond, JobId{JobAwaits::kUnderWayMax + 1});
  EXPECT_FALSE(awaits_.take(late, kNow));

  auto first = ended(before_ + 1, JobId{1});
  EXPECT_TRUE(awaits_.take(first, kNow));
  awaits_.send_due(client_, kNow);

  EXPECT_TRUE(awaits_.take(late, kNow));
}

TEST(RetryDelay, AUniqueKeyThatIsHeldIsNotAskedForAgain) {
  auto error = protocol::make_error({ErrorCode::unique_conflict, "held", Duration{1000}});
  EXPECT_FALSE(retry_delay(error));
}

TEST(RetryDelay, ABusyBrokerIsAskedAgain) {
  EXPECT_EQ(retry_delay(protocol::make_error({ErrorCode::busy, "", Duration{700}})), Duration{700});
  EXPECT_EQ(retry_delay(protocol::make_error({ErrorCode::storage_full, "", Duration{1000}})),
            Duration{1000});
  EXPECT_FALSE(retry_delay(protocol::make_error({ErrorCode::queue_closed, "", {}})));
}

}  // namespace
}  // namespace millrace::producer

#include "producer/batcher.h"

#include <gmock/gmock.h>

namespace millrace::producer {
namespace {

constexpr Instant kStart{Duration{1'000'000}};

protocol::NewJob job_of(std::size_t payload_bytes) {
  protocol::NewJob job;
  job.kind = "echo";
  job.payload = Payload::text(std::string(payload_bytes, 'x'));
  return job;
}

std::uint64_t add_request(RequestWindow& window, std::uint64_t correlation) {
  RequestWindow::Request request;
  request.correlation = correlation;
  return window.add(std::move(request));
}

TEST(Batcher, HoldsAsManyJobsAsTheBrokerTakes) {
  Batcher batcher(3, 1 << 20);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(batcher.fits(job_of(1)));
    batcher.add(job_of(1), kStart);
  }
  EXPECT_FALSE(batcher.fits(job_of(1)));
  EXPECT_EQ(batcher.take().size(), 3U);
  EXPECT_TRUE(batcher.empty());
  EXPECT_TRUE(batcher.fits(job_of(1)));
}

TEST(Batcher, HoldsNoMoreBytesThanTheBrokerTakes) {
  Batcher batcher(1000, 10'000);
  batcher.add(job_of(6000), kStart);
  EXPECT_TRUE(batcher.fits(job_of(3000)));
  EXPECT_FALSE(batcher.fits(job_of(4000)));
}

TEST(Batcher, TakesOneJobOfAnySize) {
  // Whether it is too large is the broker's to say.
  EXPECT_TRUE(Batcher(1000, 10).fits(job_of(5000)));
}

TEST(Batcher, WaitsOnlyAShortTimeForMore) {
  Batcher batcher(1000, 1 << 20);
  batcher.add(job_of(1), kStart);
  EXPECT_EQ(batcher.patience(kStart), Batcher::kIdleFlush);
  batcher.add(job_of(1), kStart + Duration{15});
  EXPECT_EQ(batcher.patience(kStart + Duration{20}), Duration{15});
  EXPECT_EQ(batcher.patience(kStart + Duration{35}), Duration{0});
}

TEST(RequestWindow, TheFirstRequestIsAlone) {
  RequestWindow window;
  EXPECT_TRUE(window.can_send(false));
  add_request(window, 1);
  EXPECT_FALSE(window.can_send(false));
}

TEST(RequestWindow, RequestsStayAloneUntilAReplyTellsTheBatch) {
  RequestWindow window;
  window.acknowledge(add_request(window, 1), false);
  EXPECT_TRUE(window.can_send(false));
  window.acknowledge(add_request(window, 2), false);
  add_request(window, 3);
  EXPECT_FALSE(window.can_send(false));
  window.acknowledge(2, true);
  add_request(window, 4);
  EXPECT_TRUE(window.can_send(false));
}

TEST(RequestWindow, IsBoundedOnceTheBatchIsKnown) {
  RequestWindow window;
  window.acknowledge(add_request(window, 1));
  for (std::uint64_t i = 0; i < RequestWindow::kRequestsMax; ++i) {
    ASSERT_TRUE(window.can_send(false));
    add_request(window, 10 + i);
  }
  EXPECT_FALSE(window.can_send(false));
}

TEST(RequestWindow, OneSlowRequestBoundsHowFarOthersRunAhead) {
  RequestWindow window;
  window.acknowledge(add_request(window, 1));
  add_request(window, 2);
  for (std::uint64_t i = 1; i < RequestWindow::kRequestsMax; ++i)
    window.acknowledge(add_request(window, 2 + i));
  EXPECT_EQ(window.size(), 1U);
  EXPECT_FALSE(window.can_send(false));
}

TEST(RequestWindow, TheSealWaitsForAllOthers) {
  RequestWindow window;
  EXPECT_TRUE(window.can_send(true));
  window.acknowledge(add_request(window, 1));
  const std::uint64_t open = add_request(window, 2);
  EXPECT_FALSE(window.can_send(true));
  window.acknowledge(open);
  EXPECT_TRUE(window.can_send(true));
}

TEST(RequestWindow, FindsByCorrelationAndByDueRetry) {
  RequestWindow window;
  const std::uint64_t first = add_request(window, 7);
  std::uint64_t sequence = 99;
  RequestWindow::Request* request = window.find(7, sequence);
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(sequence, first);
  EXPECT_EQ(window.find(8, sequence), nullptr);
  EXPECT_THAT(window.due(kStart), testing::IsEmpty());
  request->correlation = 0;
  request->again_at = kStart + Duration{50};
  EXPECT_THAT(window.due(kStart), testing::IsEmpty());
  EXPECT_THAT(window.due(kStart + Duration{50}), testing::ElementsAre(request));
}

}  // namespace
}  // namespace millrace::producer

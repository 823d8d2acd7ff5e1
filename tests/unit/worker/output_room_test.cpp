// Runs that write more than the worker may hold.

#include <gtest/gtest.h>

#include <future>
#include <stdexcept>

#include "worker/output_buffer.h"

namespace millrace::worker {
namespace {

constexpr std::chrono::seconds kPatience{20};
/// A writer that does not wait is through by then.
constexpr std::chrono::milliseconds kShort{30};

class OutputRoomTest : public testing::Test {
 protected:
  OutputRoomTest() { job_.lease = LeaseId{1}; }
  void fill() { buffer_.chunk(job_, {}, Payload::binary(std::string(2000, 'x'))); }
  void settle() {
    const auto items = buffer_.take(Instant{}).items;
    buffer_.settle(items, std::vector(items.size(), protocol::ItemStatus::ok));
  }
  std::future<void> write_chunk() {
    return std::async(std::launch::async,
                      [this] { buffer_.chunk(job_, stop_.get_token(), Payload::text("next")); });
  }

  Wakeup wakeup_;
  OutputBuffer buffer_{wakeup_, 1000};
  Job job_;
  std::stop_source stop_;
};

TEST_F(OutputRoomTest, AWriterWaitsUntilTheBrokerHasTakenEnough) {
  fill();
  std::future<void> written = write_chunk();
  EXPECT_EQ(written.wait_for(kShort), std::future_status::timeout);

  settle();

  ASSERT_EQ(written.wait_for(kPatience), std::future_status::ready);
  EXPECT_NO_THROW(written.get());
  EXPECT_EQ(buffer_.take(Instant{}).items.size(), 1U);
}

TEST_F(OutputRoomTest, AStopEndsTheWait) {
  fill();
  std::future<void> written = write_chunk();
  EXPECT_EQ(written.wait_for(kShort), std::future_status::timeout);

  stop_.request_stop();

  ASSERT_EQ(written.wait_for(kPatience), std::future_status::ready);
  EXPECT_THROW(written.get(), std::runtime_error);
}

TEST_F(OutputRoomTest, OfALostLeaseAWriterGoesOnWithoutAWord) {
  fill();
  std::future<void> written = write_chunk();

  buffer_.discard(job_.lease);
  stop_.request_stop();

  ASSERT_EQ(written.wait_for(kPatience), std::future_status::ready);
  EXPECT_NO_THROW(written.get());
  EXPECT_TRUE(buffer_.take(Instant{}).items.empty());
}

TEST_F(OutputRoomTest, OutcomesThatAreSettledMakeRoomToo) {
  buffer_.set_outcome_bytes(1000);
  std::future<void> written = write_chunk();
  EXPECT_EQ(written.wait_for(kShort), std::future_status::timeout);

  buffer_.set_outcome_bytes(999);

  EXPECT_EQ(written.wait_for(kPatience), std::future_status::ready);
}

TEST_F(OutputRoomTest, ProgressNeverWaits) {
  fill();

  buffer_.progress(job_, 1, 2, "");

  EXPECT_EQ(buffer_.take(Instant{}).items.size(), 2U);
}

}  // namespace
}  // namespace millrace::worker

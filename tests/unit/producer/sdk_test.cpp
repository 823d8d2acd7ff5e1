// The client library against a broker that acknowledges whatever comes.

#include <gmock/gmock.h>
#include <millrace/client.h>

#include <stdexcept>
#include <thread>
#include <zmq.hpp>

#include "common/protocol/codec.h"

namespace millrace {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::Le;
using testing::SizeIs;

constexpr std::size_t kJobsMax = 8;

/// Answers one peer from a thread of its own, and remembers how many jobs each ENQUEUE had.
class FakeBroker {
 public:
  FakeBroker() {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::rcvtimeo, 20'000);
    socket_.bind("tcp://127.0.0.1:*");
    endpoint_ = socket_.get(zmq::sockopt::last_endpoint);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeBroker() {
    if (thread_.joinable()) thread_.join();
  }
  FakeBroker(const FakeBroker&) = delete;
  FakeBroker& operator=(const FakeBroker&) = delete;

  [[nodiscard]] const std::string& endpoint() const { return endpoint_; }
  /// Waits until the batch is sealed.
  std::vector<std::size_t> requests() {
    thread_.join();
    return requests_;
  }

 private:
  void serve() {
    bool sealed = false;
    while (!sealed) {
      zmq::message_t peer;
      zmq::message_t frame;
      if (!socket_.recv(peer) || !socket_.recv(frame)) return;  // the test says what is missing
      const auto envelope = protocol::decode(frame.to_string_view());
      if (!envelope) throw std::runtime_error(envelope.error().error.message);
      const auto answer = [&](protocol::Message message) {
        socket_.send(peer, zmq::send_flags::sndmore);
        socket_.send(zmq::buffer(protocol::encode({envelope->correlation, std::move(message)})));
      };
      if (std::holds_alternative<protocol::Hello>(envelope->message))
        answer(protocol::Welcome{.enqueue_jobs_max = kJobsMax, .enqueue_bytes_max = kMiB});
      if (const auto* enqueue = std::get_if<protocol::Enqueue>(&envelope->message)) {
        requests_.push_back(enqueue->jobs.size());
        answer(protocol::Enqueued{
            .batch = BatchId{1}, .first = JobId{next_}, .count = enqueue->jobs.size()});
        next_ += enqueue->jobs.size();
        sealed = enqueue->seal;
      }
    }
  }

  zmq::context_t context_{1};
  zmq::socket_t socket_{context_, zmq::socket_type::router};
  std::string endpoint_;
  std::uint64_t next_ = 1;
  std::vector<std::size_t> requests_;
  std::thread thread_;
};

std::vector<std::size_t> requests_of(std::size_t request_jobs, std::size_t jobs) {
  FakeBroker broker;
  Client client({.broker = broker.endpoint(), .request_jobs = request_jobs});
  const auto batch = client.enqueue(std::vector<JobRequest>(jobs, JobRequest{.kind = "echo"}));
  EXPECT_THAT(batch.value_or(EnqueuedBatch{}).ids, SizeIs(jobs));
  return broker.requests();
}

TEST(ClientRequests, AreAsLargeAsTheBrokerTakesUnlessToldOtherwise) {
  EXPECT_THAT(requests_of(0, 20), ElementsAre(8, 8, 4));
}

TEST(ClientRequests, HaveAtMostRequestJobs) {
  EXPECT_THAT(requests_of(3, 20), ElementsAre(3, 3, 3, 3, 3, 3, 2));
}

TEST(ClientRequests, TheBrokersLimitHoldsInAnyCase) {
  EXPECT_THAT(requests_of(1000, 20), Each(Le(kJobsMax)));
}

}  // namespace
}  // namespace millrace

// A whole worker, without its process, against a broker that says what the test wants.

#include "worker/agent.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <future>
#include <latch>
#include <stdexcept>
#include <thread>
#include <zmq.hpp>

#include "common/protocol/codec.h"
#include "common/util/clock.h"
#include "worker/thread_executor.h"

namespace millrace::worker {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

constexpr Duration kPatience{20'000};

/// One peer's broker. Answers HELLO, RESUME and heartbeats by itself; the rest is the test's.
class FakeBroker {
 public:
  FakeBroker() {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.bind("tcp://127.0.0.1:*");
  }
  [[nodiscard]] std::string endpoint() const { return socket_.get(zmq::sockopt::last_endpoint); }

  void send(protocol::Message message, std::uint64_t correlation = 0) {
    socket_.send(zmq::buffer(peer_), zmq::send_flags::sndmore);
    socket_.send(zmq::buffer(protocol::encode({correlation, std::move(message)})));
  }

  template <class M>
  struct Received {
    M message;
    std::uint64_t correlation = 0;
  };
  /// The next message of this type; others are passed over, and remembered in `passed`.
  template <class M>
  Received<M> await() {
    const Instant deadline = read_clocks().mono + kPatience;
    while (read_clocks().mono < deadline) {
      protocol::Envelope envelope = receive(deadline);
      if (auto* wanted = std::get_if<M>(&envelope.message))
        return {std::move(*wanted), envelope.correlation};
      passed.push_back(std::move(envelope.message));
    }
    throw std::runtime_error(
        fmt::format("no {} came", protocol::type_name(protocol::Message{M{}})));
  }
  template <class M>
  [[nodiscard]] bool has_passed() const {
    return std::any_of(passed.begin(), passed.end(),
                       [](const auto& message) { return std::holds_alternative<M>(message); });
  }

  std::vector<protocol::Message> passed;

 private:
  protocol::Envelope receive(Instant deadline) {
    socket_.set(zmq::sockopt::rcvtimeo,
                static_cast<int>(std::max(deadline - read_clocks().mono, Duration{1}).count()));
    zmq::message_t peer;
    zmq::message_t frame;
    if (!socket_.recv(peer) || !socket_.recv(frame)) throw std::runtime_error("nothing came");
    peer_ = peer.to_string();
    auto envelope = protocol::decode(frame.to_string_view());
    if (!envelope) throw std::runtime_error(envelope.error().error.message);
    if (std::holds_alternative<protocol::Hello>(envelope->message))
      send(protocol::Welcome{}, envelope->correlation);
    if (std::holds_alternative<protocol::Heartbeat>(envelope->message)) send(protocol::Heartbeat{});
    if (const auto* resume = std::get_if<protocol::Resume>(&envelope->message)) {
      protocol::Resumed resumed;
      for (const auto& held : resume->leases) resumed.keep.push_back(held.lease);
      send(std::move(resumed), envelope->correlation);
    }
    return std::move(*envelope);
  }

  zmq::context_t context_{1};
  zmq::socket_t socket_{context_, zmq::socket_type::router};
  std::string peer_;
};

class AgentTest : public testing::Test {
 protected:
  void start() {
    executor_ =
        std::make_unique<ThreadExecutor>("io", 1, registry_, completions_, outputs_, children_);
    AgentOptions options;
    options.endpoint = broker_.endpoint();
    options.name = "test";
    agent_ =
        std::make_unique<Agent>(options, registry_, std::vector<PoolSpec>{{"io", executor_.get()}},
                                completions_, outputs_, children_);
    farewell_ = std::async(std::launch::async, [this] { return agent_->run(); });
    broker_.await<protocol::Credit>();
  }
  /// Ends the agent whatever became of the test.
  void TearDown() override {
    if (farewell_.valid()) agent_->stop(SIGTERM);
  }
  void deliver(std::initializer_list<std::uint64_t> leases) {
    protocol::Jobs jobs{.pool = "io", .items = {}};
    for (const std::uint64_t lease : leases) {
      protocol::Delivery delivery;
      delivery.number = ++number_;
      delivery.lease = LeaseId{lease};
      delivery.job = JobId{lease};
      delivery.kind = "work";
      jobs.items.push_back(std::move(delivery));
    }
    broker_.send(std::move(jobs));
  }
  /// The next OUTPUT or outcome, settled.
  template <class M>
  M await_and_settle() {
    auto received = broker_.await<M>();
    protocol::Settled settled;
    for (const auto& item : received.message.items) settled.leases.push_back(item.lease);
    settled.statuses.assign(settled.leases.size(), protocol::ItemStatus::ok);
    broker_.send(std::move(settled), received.correlation);
    return std::move(received.message);
  }

  FakeBroker broker_;
  Registry registry_;
  CompletionQueue completions_;
  OutputBuffer outputs_{completions_.wakeup()};
  ChildJobs children_{completions_.wakeup()};
  std::unique_ptr<ThreadExecutor> executor_;
  std::unique_ptr<Agent> agent_;
  std::future<Farewell> farewell_;
  std::uint64_t number_ = 0;
};

TEST_F(AgentTest, DismissedItFinishesWhatRunsGivesBackTheRestAndLeaves) {
  std::latch may_end(1);
  registry_.add("work", {kPoolIo, [&](JobContext&) {
                           may_end.wait();
                           return Outcome::ack();
                         }});
  start();
  deliver({1, 2});
  EXPECT_THAT(broker_.await<protocol::Started>().message.leases, ElementsAre(LeaseId{1}));

  broker_.send(protocol::Drained{.queues = {}, .reason = "dismissed"});

  EXPECT_EQ(await_and_settle<protocol::Release>().items.at(0).lease, LeaseId{2});
  may_end.count_down();
  EXPECT_EQ(await_and_settle<protocol::Ack>().items.at(0).lease, LeaseId{1});
  broker_.await<protocol::Bye>();
  const Farewell farewell = farewell_.get();
  EXPECT_EQ(farewell.exit_code, 0);
  EXPECT_THAT(farewell.text, StartsWith("dismissed by the operator; ran 1 job"));
}

TEST_F(AgentTest, ADismissedWorkerWithNothingToDoLeavesAtOnce) {
  start();

  broker_.send(protocol::Drained{.queues = {}, .reason = "dismissed"});

  broker_.await<protocol::Bye>();
  EXPECT_THAT(farewell_.get().text, StartsWith("dismissed by the operator; ran 0 jobs"));
}

TEST_F(AgentTest, OffersTheOptionsOfKindsThatHaveSome) {
  const Handler done = [](JobContext&) { return Outcome::ack(); };
  registry_.add("plain", {kPoolIo, done});
  protocol::KindOptions options;
  options.max_attempts = 9;
  options.not_replayable = true;
  registry_.add("careful", {kPoolIo, done, options});
  start();

  ASSERT_TRUE(broker_.has_passed<protocol::Offer>());
  for (const protocol::Message& message : broker_.passed) {
    const auto* offer = std::get_if<protocol::Offer>(&message);
    if (offer == nullptr) continue;
    EXPECT_EQ(offer->kinds.size(), 2U);
    ASSERT_EQ(offer->kind_options.size(), 1U);
    EXPECT_EQ(offer->kind_options.at("careful").max_attempts, 9);
    EXPECT_TRUE(offer->kind_options.at("careful").not_replayable);
  }
}

TEST_F(AgentTest, OutputThatIsNotSettledComesAgainAfterResume) {
  registry_.add("work", {kPoolIo, [](JobContext& context) {
                           context.log("line");
                           context.chunk(Payload::text("part"));
                           return Outcome::ack();
                         }});
  start();
  deliver({1});
  std::size_t rows = broker_.await<protocol::Output>().message.items.size();
  broker_.send(protocol::make_error({ErrorCode::no_session, "say HELLO", {}}));
  broker_.await<protocol::Resume>();
  broker_.passed.clear();

  // The log line may have left alone, the chunk then follows.
  std::vector<std::uint64_t> numbers;
  while (numbers.size() < 2)
    for (const auto& item : await_and_settle<protocol::Output>().items) numbers.push_back(item.n);

  EXPECT_THAT(numbers, ElementsAre(1, 2));
  EXPECT_GE(rows, 1U);
  EXPECT_FALSE(broker_.has_passed<protocol::Ack>());
  EXPECT_EQ(await_and_settle<protocol::Ack>().items.at(0).lease, LeaseId{1});
}

TEST_F(AgentTest, ACancelledRunEndsItsWaitAndItsOutcomeIsNotSent) {
  registry_.add("work", {kPoolIo, [](JobContext& context) {
                           if (context.job().lease == LeaseId{1} && context.wait(kPatience))
                             return Outcome::nack("waited to the end");
                           return Outcome::ack();
                         }});
  start();
  deliver({1});
  broker_.await<protocol::Started>();

  broker_.send(protocol::Cancel{.jobs = {}, .leases = {LeaseId{1}}, .reason = "cancelled"});
  deliver({2});  // waits for the slot that the first one gives up

  const auto acked = await_and_settle<protocol::Ack>();
  ASSERT_EQ(acked.items.size(), 1U);
  EXPECT_EQ(acked.items[0].lease, LeaseId{2});
  EXPECT_FALSE(broker_.has_passed<protocol::Nack>());
}

/// A kind that enqueues one job and tells what came of it.
Handler enqueues() {
  return [](JobContext& context) {
    const JobId id = context.enqueue({.kind = "more", .payload = Payload::text("1")}, "mail");
    return Outcome::ack(Payload::text(fmt::format("{}", id.value)));
  };
}

TEST_F(AgentTest, AHandlerThatEnqueuesWaitsForTheIds) {
  registry_.add("work", {kPoolIo, enqueues()});
  start();
  deliver({1});

  const auto asked = broker_.await<protocol::Enqueue>();
  EXPECT_EQ(asked.message.lease, LeaseId{1});
  EXPECT_EQ(asked.message.queue, "mail");
  broker_.send(protocol::Enqueued{BatchId{1}, JobId{77}, 1, {}, {}}, asked.correlation);

  EXPECT_EQ(await_and_settle<protocol::Ack>().items.at(0).result, Payload::text("77"));
}

TEST_F(AgentTest, WhatIsNotAnsweredIsAskedAgainUnderTheSameIdAfterAReconnect) {
  registry_.add("work", {kPoolIo, enqueues()});
  start();
  deliver({1});
  const RequestId first = broker_.await<protocol::Enqueue>().message.request;

  broker_.send(protocol::make_error({ErrorCode::no_session, "say HELLO", {}}));
  const auto again = broker_.await<protocol::Enqueue>();

  EXPECT_EQ(again.message.request, first);
  EXPECT_FALSE(broker_.has_passed<protocol::Ack>());
  broker_.send(protocol::Enqueued{BatchId{1}, JobId{77}, 1, {}, {}}, again.correlation);
  EXPECT_EQ(await_and_settle<protocol::Ack>().items.at(0).result, Payload::text("77"));
}

TEST_F(AgentTest, ARefusedEnqueueIsThrownAtTheHandler) {
  registry_.add("work", {kPoolIo, enqueues()});
  start();
  deliver({1});

  const auto asked = broker_.await<protocol::Enqueue>();
  broker_.send(protocol::make_error({ErrorCode::queue_closed, "queue `mail` is closed", {}}),
               asked.correlation);

  EXPECT_EQ(await_and_settle<protocol::Nack>().items.at(0).error,
            "queue_closed: queue `mail` is closed");
}

TEST_F(AgentTest, AStopEndsTheWaitForTheBroker) {
  std::promise<std::string> thrown;
  registry_.add("work", {kPoolIo, [&](JobContext& context) {
                           try {
                             context.enqueue({.kind = "more"});
                           } catch (const std::runtime_error& error) {
                             thrown.set_value(error.what());
                             throw;
                           }
                           return Outcome::ack();
                         }});
  start();
  deliver({1});
  broker_.await<protocol::Enqueue>();

  broker_.send(protocol::Cancel{.jobs = {}, .leases = {LeaseId{1}}, .reason = "cancelled"});

  auto text = thrown.get_future();
  ASSERT_EQ(text.wait_for(kPatience), std::future_status::ready);
  EXPECT_THAT(text.get(), testing::AnyOf(StartsWith("lease_lost"), StartsWith("stopping")));
}

}  // namespace
}  // namespace millrace::worker

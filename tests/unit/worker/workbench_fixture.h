#pragma once

// A workbench between a link that remembers and executors that run nothing.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "worker/workbench.h"

namespace millrace::worker {

/// Remembers what was sent, in order.
class RecordingLink : public Link {
 public:
  struct Sent {
    std::uint64_t correlation = 0;
    protocol::Message message;
  };

  void tell(const protocol::Message& message) override { sent.push_back({0, message}); }
  std::uint64_t request(protocol::Message message) override {
    sent.push_back({++last, std::move(message)});
    return last;
  }
  void forget(std::uint64_t correlation) override { forgotten.push_back(correlation); }

  /// The only message of this type since the last call of clear().
  template <class T>
  const T& only() const {
    const T* found = nullptr;
    for (const Sent& entry : sent) {
      const auto* message = std::get_if<T>(&entry.message);
      if (message == nullptr) continue;
      EXPECT_EQ(found, nullptr) << "more than one";
      found = message;
    }
    static const T kNone{};
    if (found == nullptr) ADD_FAILURE() << "none of this type";
    return found != nullptr ? *found : kNone;
  }
  template <class T>
  [[nodiscard]] bool has() const {
    return std::any_of(sent.begin(), sent.end(),
                       [](const Sent& entry) { return std::holds_alternative<T>(entry.message); });
  }
  void clear() { sent.clear(); }

  std::vector<Sent> sent;
  std::vector<std::uint64_t> forgotten;
  std::uint64_t last = 0;
};

/// Runs nothing; the test says how each job ends.
class FakeExecutor : public Executor {
 public:
  explicit FakeExecutor(std::size_t slots) : slots_(slots) {}
  [[nodiscard]] std::size_t slots() const override { return slots_; }
  [[nodiscard]] std::size_t depth_max() const override { return depth; }
  void start(std::vector<Job> jobs) override {
    for (Job& job : jobs) started.push_back(std::move(job));
  }
  void cancel(LeaseId lease, StopReason reason) override { cancelled.emplace_back(lease, reason); }
  [[nodiscard]] bool stop(Duration) override { return true; }

  std::vector<Job> started;
  std::vector<std::pair<LeaseId, StopReason>> cancelled;
  std::size_t depth = 1;

 private:
  std::size_t slots_;
};

class WorkbenchTest : public testing::Test {
 protected:
  WorkbenchTest() {
    registry_.add("echo", {kPoolIo, [](JobContext&) { return Outcome::ack(); }});
    registry_.add("sum", {kPoolCpu, [](JobContext&) { return Outcome::ack(); }});
    bench_.emplace(link_, registry_, std::vector<PoolSpec>{{"io", &io_}, {"cpu", &cpu_}}, outputs_,
                   children_);
    protocol::Welcome welcome;
    welcome.result_bytes_max = 100;
    bench_->connected(welcome);
    bench_->resumed({});
    turn();
    link_.clear();
  }

  void turn() { bench_->turn(now_); }

  protocol::Delivery delivery(std::uint64_t lease, const std::string& kind = "echo") {
    protocol::Delivery made;
    made.number = ++number_;
    made.lease = LeaseId{lease};
    made.job = JobId{lease + 1000};
    made.kind = kind;
    made.queue = "default";
    made.payload = Payload::text("1");
    return made;
  }
  void deliver(std::initializer_list<std::uint64_t> leases) {
    protocol::Jobs jobs{.pool = "io", .items = {}};
    for (const std::uint64_t lease : leases) jobs.items.push_back(delivery(lease));
    bench_->deliver(std::move(jobs));
    turn();
  }
  void complete(std::uint64_t lease, Outcome outcome, StopReason stopped = StopReason::none) {
    std::vector<Completion> completions;
    completions.push_back({.lease = LeaseId{lease},
                           .outcome = std::move(outcome),
                           .stopped = stopped,
                           .elapsed = std::chrono::seconds{1}});
    bench_->complete(std::move(completions));
    turn();
  }
  void settle_last() {
    EXPECT_TRUE(bench_->answered(link_.last, protocol::Settled{}, now_));
    turn();
  }
  std::vector<std::uint64_t> started_on_io() const {
    std::vector<std::uint64_t> leases;
    for (const Job& job : io_.started) leases.push_back(job.lease.value);
    return leases;
  }

  RecordingLink link_;
  Registry registry_;
  CompletionQueue completions_;
  OutputBuffer outputs_{completions_.wakeup(), 1000};
  ChildJobs children_{completions_.wakeup()};
  FakeExecutor io_{2};
  FakeExecutor cpu_{1};
  std::optional<Workbench> bench_;
  Instant now_{Duration{1000}};
  std::uint64_t number_ = 0;
};

}  // namespace millrace::worker

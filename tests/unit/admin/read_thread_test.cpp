// What the reading thread answers, and backups beside it.

#include "broker/admin/read_thread.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <optional>
#include <semaphore>

#include "broker/store/memory_store.h"

namespace millrace::broker {
namespace {

using std::chrono::steady_clock;

/// A store whose job 13 is damaged.
class DamagedStore final : public Query {
 public:
  ResultsRead results(const ReadResults& read) override {
    ResultsRead answer;
    answer.to = read.to;
    return answer;
  }
  protocol::Page page(const protocol::List&) override { return {}; }
  std::optional<protocol::Item> item(const protocol::Show&) override { return std::nullopt; }
  JobRead job(const ReadJob& read) override {
    if (read.job == JobId{13}) throw StoreError(ErrorCode::corrupt, "job 13 is damaged");
    JobRead answer;
    answer.to = read.to;
    answer.job = read.job;
    answer.exists = true;
    return answer;
  }
};

class ReadThreadTest : public ::testing::Test {
 protected:
  /// The next answer; a test failure when there is none in time.
  std::optional<ReadAnswer> next(ReadThread& reads) {
    const auto deadline = steady_clock::now() + std::chrono::seconds(30);
    while (answers_.empty() && steady_clock::now() < deadline) {
      pollfd fd{wakeup_.fd(), POLLIN, 0};
      poll(&fd, 1, 1000);
      wakeup_.clear();
      for (ReadAnswer& answer : reads.take_done()) answers_.push_back(std::move(answer));
    }
    if (answers_.empty()) {
      ADD_FAILURE() << "no answer";
      return std::nullopt;
    }
    ReadAnswer answer = std::move(answers_.front());
    answers_.erase(answers_.begin());
    return answer;
  }
  protocol::Message reply(ReadThread& reads, std::uint64_t correlation) {
    const auto answer = next(reads);
    if (!answer || !std::holds_alternative<Reply>(*answer)) {
      ADD_FAILURE() << "no reply";
      return {};
    }
    const Reply& reply = std::get<Reply>(*answer);
    EXPECT_EQ(reply.to, ConnectionId{5});
    EXPECT_EQ(reply.correlation, correlation);
    return reply.message;
  }
  static ReadJob read_job(std::uint64_t id) {
    ReadJob read;
    read.to = ConnectionId{5};
    read.correlation = 6;
    read.job = JobId{id};
    read.result = true;
    return read;
  }
  static MakeBackup backup(const std::string& path, std::uint64_t correlation) {
    return {ConnectionId{5}, correlation, path};
  }
  static ReadThread::Make store() {
    return [] { return std::make_unique<DamagedStore>(); };
  }
  static ErrorCode code_of(const protocol::Message& message) {
    const auto* error = std::get_if<protocol::ErrorReply>(&message);
    return error == nullptr ? ErrorCode::internal : protocol::to_error(*error).code;
  }

  Wakeup wakeup_;
  std::vector<ReadAnswer> answers_;
};

TEST_F(ReadThreadTest, ADamagedJobIsTheAskersToHearOf) {
  ReadThread reads(store(), {}, wakeup_);
  reads.submit(read_job(13));
  const auto damaged = next(reads);
  reads.submit(read_job(14));
  const auto good = next(reads);

  ASSERT_TRUE(damaged && std::holds_alternative<JobRead>(*damaged));
  const auto& told = std::get<JobRead>(*damaged);
  EXPECT_EQ(told.error, "job 13 is damaged");
  EXPECT_TRUE(told.exists);
  EXPECT_EQ(told.to, ConnectionId{5});
  EXPECT_EQ(told.correlation, 6U);
  EXPECT_EQ(told.job, JobId{13});
  EXPECT_TRUE(told.result_asked);
  ASSERT_TRUE(good && std::holds_alternative<JobRead>(*good));
  EXPECT_EQ(std::get<JobRead>(*good).error, "");
}

TEST_F(ReadThreadTest, ABackupIsMadeBesideTheReadsAndOneAtATime) {
  std::binary_semaphore go{0};
  const auto make = [&](const std::string& path, const std::stop_token&) {
    go.acquire();
    return protocol::BackedUp{path, 7, 8};
  };
  ReadThread reads(store(), make, wakeup_);

  reads.submit(backup("/a", 1));
  reads.submit(backup("/b", 2));
  EXPECT_EQ(code_of(reply(reads, 2)), ErrorCode::busy);
  reads.submit(read_job(14));
  EXPECT_TRUE(std::holds_alternative<JobRead>(next(reads).value()));
  go.release();

  const auto done = reply(reads, 1);
  ASSERT_TRUE(std::holds_alternative<protocol::BackedUp>(done));
  EXPECT_EQ(std::get<protocol::BackedUp>(done).path, "/a");
  EXPECT_EQ(std::get<protocol::BackedUp>(done).bytes, 7U);
  go.release();
  reads.submit(backup("/c", 3));
  EXPECT_TRUE(std::holds_alternative<protocol::BackedUp>(reply(reads, 3)));
}

TEST_F(ReadThreadTest, ABackupThatFailsIsAnAnswer) {
  const auto make = [](const std::string& path, const std::stop_token&) -> protocol::BackedUp {
    if (path == "/refused") throw StoreError(ErrorCode::not_allowed, "no");
    throw std::runtime_error("the disk is gone");
  };
  ReadThread reads(store(), make, wakeup_);

  reads.submit(backup("/refused", 1));
  EXPECT_EQ(code_of(reply(reads, 1)), ErrorCode::not_allowed);
  reads.submit(backup("/broken", 2));
  EXPECT_EQ(code_of(reply(reads, 2)), ErrorCode::storage_failed);
}

TEST_F(ReadThreadTest, ABackupUnderWayIsToldToStopAtTheEnd) {
  std::binary_semaphore begun{0};
  std::binary_semaphore told{0};
  const auto make = [&](const std::string&, const std::stop_token& stop) {
    const std::stop_callback tell(stop, [&] { told.release(); });
    begun.release();
    told.acquire();
    return protocol::BackedUp{};
  };
  {
    ReadThread reads(store(), make, wakeup_);
    reads.submit(backup("/a", 1));
    begun.acquire();
  }
  EXPECT_FALSE(told.try_acquire());
}

}  // namespace
}  // namespace millrace::broker

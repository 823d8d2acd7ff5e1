#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/engine_harness.h"

namespace millrace::broker {

/// What a client makes of a stream. Checks that each message begins where the last one ended.
struct Stream {
  Stream(TestPeer& watcher, BatchId id, FinishSeq from = {})
      : peer(watcher), batch(id), cursor(from) {}

  void watch() { peer.send(protocol::Watch{batch, cursor}); }
  /// Takes what has arrived; true when something has.
  bool take() {
    const auto messages = peer.take<protocol::Results>();
    for (const protocol::Results& message : messages) {
      EXPECT_EQ(message.from, cursor);
      for (const protocol::ResultRow& row : message.rows) {
        EXPECT_GT(row.cursor, cursor);
        EXPECT_LE(row.cursor, message.cursor);
        cursor = row.cursor;
        rows.push_back(row);
      }
      cursor = message.cursor;
      end = end || message.end;
      last = message;
    }
    return !messages.empty();
  }
  [[nodiscard]] std::vector<JobId> ids() const {
    std::vector<JobId> all;
    for (const protocol::ResultRow& row : rows) all.push_back(row.job);
    return all;
  }

  TestPeer& peer;
  BatchId batch;
  FinishSeq cursor;
  std::vector<protocol::ResultRow> rows;
  protocol::Results last;
  bool end = false;
};

inline std::vector<JobId> ids(std::initializer_list<std::uint64_t> values) {
  std::vector<JobId> all;
  for (std::uint64_t value : values) all.emplace_back(value);
  return all;
}

struct Watched {
  explicit Watched(std::size_t count, EngineOptions options = {}, bool seal = true)
      : broker(std::move(options)) {
    batch = producer.enqueue(jobs(count), {.seal = seal}).batch;
    taken = worker.take_jobs();
  }
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 10'000});
  BatchId batch;
  std::vector<protocol::Delivery> taken;
};

}  // namespace millrace::broker

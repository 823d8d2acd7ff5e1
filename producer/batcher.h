#pragma once

// How many jobs one ENQUEUE carries, and how many of them may be under way. Pure.

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/protocol/messages.h"

namespace millrace::producer {

/// Gathers jobs into requests within the broker's limits. A request is complete when the next job
/// no longer fits, when the input has ended, or when it has been silent for kIdleFlush: a slow
/// producer of jobs is not held back.
class Batcher {
 public:
  static constexpr Duration kIdleFlush{20};

  Batcher(std::size_t jobs_max, std::size_t bytes_max)
      : jobs_max_(jobs_max), bytes_max_(bytes_max) {}

  [[nodiscard]] bool fits(const protocol::NewJob& job) const;
  void add(protocol::NewJob job, Instant now);
  [[nodiscard]] bool empty() const { return jobs_.empty(); }
  [[nodiscard]] std::size_t size() const { return jobs_.size(); }
  /// How long the gathered jobs may still wait for more; zero: send them now.
  [[nodiscard]] Duration patience(Instant now) const;
  [[nodiscard]] std::vector<protocol::NewJob> take();

 private:
  [[nodiscard]] static std::size_t cost(const protocol::NewJob& job);

  std::size_t jobs_max_;
  std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  Instant added_at_;
  std::vector<protocol::NewJob> jobs_;
};

/// Requests that are sent and not acknowledged. Until a reply has told the batch each is alone,
/// because the others must name it; where every unique key led to a job that was there before, the
/// reply tells none. The last, which seals, waits for all others: one of them could
/// be refused as `busy` and come again after the seal.
class RequestWindow {
 public:
  static constexpr std::size_t kRequestsMax = 8;

  struct Request {
    protocol::Enqueue message;
    std::uint64_t first_index = 0;  ///< of its first job in the input
    std::uint64_t correlation = 0;  ///< of the sending under way, 0 while it waits for its retry
    Instant again_at;
    std::optional<Instant> refused_since;
  };

  [[nodiscard]] bool can_send(bool seal) const;
  /// Takes a request in; its sequence number, from 0, is the order of the input.
  std::uint64_t add(Request request);
  /// The request that was sent under this correlation, or null.
  [[nodiscard]] Request* find(std::uint64_t correlation, std::uint64_t& sequence);
  /// `batch_known`: its reply told the batch.
  void acknowledge(std::uint64_t sequence, bool batch_known = true);
  /// Requests whose retry is due.
  [[nodiscard]] std::vector<Request*> due(Instant now);
  [[nodiscard]] bool empty() const { return requests_.empty(); }
  [[nodiscard]] std::size_t size() const { return requests_.size(); }

 private:
  std::map<std::uint64_t, Request> requests_;  // by sequence
  std::uint64_t next_sequence_ = 0;
  bool batch_known_ = false;
};

}  // namespace millrace::producer

#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/simulation/sim_peer.h"
#include "tests/simulation/watcher.h"

namespace millrace::simulation {

/// Draws one job; every field of NewJob that matters to a rule is set here.
[[nodiscard]] protocol::NewJob draw_job(const SimConfig& config, SimRandom& random, Now now,
                                        std::string tag);

/// Who reads what the runs of a job leave behind.
struct Follower {
  OutputSeq cursor;
  std::vector<protocol::OutputRow> rows;
  bool ended = false;
  bool lost = false;  ///< retention has deleted the job
};

/// A producer that sends each request again until it gets a definite answer, remembers what was
/// acknowledged, and streams the results of all its batches.
class SimProducer final : public SimPeer {
 public:
  SimProducer(World& world, std::uint64_t number);

  [[nodiscard]] bool at_rest() const;
  [[nodiscard]] std::string describe() const;
  [[nodiscard]] const std::map<BatchId, Watcher>& watchers() const { return watchers_; }
  /// Ends of jobs that it waited for.
  [[nodiscard]] const std::map<JobId, protocol::ResultRow>& awaited() const { return awaited_; }
  [[nodiscard]] const std::map<JobId, Follower>& followers() const { return followers_; }

 private:
  void on_connected(const protocol::Welcome& welcome) override;
  void on_reply(std::uint64_t correlation, const protocol::Message& request,
                protocol::Message reply, Stamp stamp) override;
  void on_push(protocol::Message message, Stamp stamp) override;
  void on_tick() override;

  void enqueue();
  void accept(const protocol::Enqueue& request, const protocol::Enqueued& answer);
  void refuse(const protocol::Enqueue& request, const protocol::ErrorReply& error);
  void look_at_jobs(const protocol::Enqueue& request, const protocol::Enqueued& answer);
  void await(JobId job);
  void on_awaited(const protocol::Await& request, const protocol::Message& reply);
  void follow(JobId job);
  void on_followed(const protocol::WatchOutput& request, const protocol::Message& reply);
  /// True: a question about a job that is refused for now and comes again.
  bool ask_later(const protocol::Message& request, const protocol::Message& reply);
  void watch(const Watcher& watcher);
  void watch_all();
  [[nodiscard]] bool may_be_lost() const;

  std::string queue_;
  Instant next_at_{};
  std::uint64_t counter_ = 0;
  std::size_t waiting_ = 0;   ///< requests without a definite answer
  BatchId open_batch_;        ///< to be continued
  bool batch_waits_ = false;  ///< a request into `open_batch_`, or one that makes it, is under way
  std::map<BatchId, Watcher> watchers_;
  std::map<BatchId, std::uint64_t> watch_requests_;  ///< the newest WATCH; only it is answered
  Instant watch_at_{};
  std::set<JobId> awaiting_;
  std::map<JobId, protocol::ResultRow> awaited_;
  std::map<JobId, Follower> followers_;
};

}  // namespace millrace::simulation

#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <vector>

#include "broker/engine/engine.h"
#include "broker/store/memory_store.h"
#include "tests/support/store_audit.h"
#include "tests/support/test_peer.h"

namespace millrace::broker {

/// Drives an Engine as the broker's front does, without threads, sockets, disk or a real clock: at
/// most two commits under way, loads answered in the order of the commits, replies only after the
/// commit they came with. Checks at every step that nobody is told of something a crash could undo.
/// One test owns it; one thread.
class EngineHarness {
 public:
  explicit EngineHarness(EngineOptions options = {});

  // ---- time
  [[nodiscard]] Now now() const { return now_; }
  /// Both clocks move; the loop turns whenever the engine asked for it, peers beat every second.
  void advance(Duration by);
  /// The broker stands still for this long: time passes, then one turn with all that has arrived.
  void stall(Duration by);
  /// The wall clock is set; no time passes.
  void set_wall_clock(Duration by);

  // ---- the loop
  /// One turn: what is committed, what arrived, tick, the next batch.
  void turn();
  /// Turns until nothing is under way and nothing changes any more.
  void run();
  /// From now on a commit takes this many turns beyond the next one.
  void set_commit_turns(std::size_t turns) { commit_turns_ = turns; }
  /// Nothing commits while held.
  void hold_commits(bool hold) { hold_commits_ = hold; }
  /// Results are not read while held.
  void hold_reads(bool hold) { hold_reads_ = hold; }
  /// A tick while peers' messages are still unread.
  void set_inbox_empty(bool empty) { inbox_empty_ = empty; }
  [[nodiscard]] std::size_t commits_under_way() const { return in_flight_.size(); }
  void set_space(Space space);

  // ---- crashes
  /// The broker dies. Of the commits under way the first `kept` are on disk, nothing of them told.
  void crash(std::size_t kept = 0);
  /// Starts from what is on disk, with the next epoch. Peers still have to say HELLO.
  void restart();
  void restart(EngineOptions options);

  // ---- peers
  TestPeer& producer();
  /// HELLO, OFFER, RESUME and credit.
  TestPeer& worker(const OfferOptions& options = {});
  /// One that has said nothing yet.
  TestPeer& stranger(protocol::Role role);
  [[nodiscard]] ConnectionId new_connection() { return ConnectionId{++last_connection_}; }
  /// From a peer; handled with the next turn.
  void receive(Received message) { arrived_.push_back(std::move(message)); }

  // ---- looking
  [[nodiscard]] Engine& engine() { return *engine_; }
  /// What is on disk.
  [[nodiscard]] const MemoryState& disk() const { return store_->durable(); }
  [[nodiscard]] const JobStatus& status(JobId id) const { return disk().jobs.at(id).record.status; }
  [[nodiscard]] JobState state(JobId id) const { return status(id).state; }
  [[nodiscard]] std::uint64_t count(JobState state, const std::string& queue = kQueueDefault) const;
  [[nodiscard]] QueueState queue_state(const std::string& queue = kQueueDefault) const;
  /// What was committed since the last forget_writes(), one entry for each transaction.
  [[nodiscard]] const std::vector<WriteBatch>& writes() const { return writes_; }
  void forget_writes() { writes_.clear(); }
  void keep_writes(bool keep) { keep_writes_ = keep; }
  /// Throws when the rows contradict each other; see StoreAudit.
  void audit(bool complete = true) const { audit_.check(disk(), complete); }
  [[nodiscard]] std::uint64_t loads() const { return loads_; }

 private:
  struct InFlight {
    Effects effects;
    std::size_t turns_left = 0;
  };

  void finish_commits();
  void commit(InFlight batch);
  void finish_reads();
  void finish_read(ReadResults read);
  void finish_read(Inspect read);
  void finish_read(const ReadJob& read);
  void finish_read(const MakeBackup& read);
  void take_effects();
  void deliver_now(std::vector<Reply> replies);
  void deliver(std::vector<Reply> replies);
  void deliver_one(Reply reply);
  void beat_all();
  [[nodiscard]] Instant next_stop(Instant end) const;
  [[nodiscard]] bool is_quiet() const;
  TestPeer& add_peer(protocol::Role role);

  EngineOptions options_;
  Now now_;
  std::unique_ptr<MemoryStore> store_;
  std::unique_ptr<Engine> engine_;
  StoreAudit audit_;
  std::deque<Received> arrived_;
  std::deque<InFlight> in_flight_;
  std::deque<Read> reads_;
  std::list<TestPeer> peers_;
  std::uint64_t last_connection_ = 0;
  std::size_t commit_turns_ = 0;
  bool hold_commits_ = false;
  bool hold_reads_ = false;
  bool inbox_empty_ = true;
  bool idle_ = false;  ///< the last turn asked for nothing
  Instant next_tick_{};
  Instant beat_at_{};
  bool keep_writes_ = true;
  std::vector<WriteBatch> writes_;
  std::uint64_t loads_ = 0;
};

}  // namespace millrace::broker

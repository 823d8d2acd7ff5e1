#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "broker/engine/engine.h"
#include "broker/engine/ports.h"
#include "tests/simulation/sim_store.h"
#include "tests/simulation/sim_world.h"

namespace millrace::simulation {

/// The broker: the real engine, driven as broker/front/front.cpp drives it, over a store that is
/// driven as store_thread.cpp drives it. It dies between any two of its effects and starts again
/// from what the store holds.
class SimBroker {
 public:
  SimBroker(World& world, std::unique_ptr<SimStore> store);
  ~SimBroker();

  void start();
  [[nodiscard]] bool up() const { return engine_ != nullptr; }
  /// How often it has started.
  [[nodiscard]] std::uint64_t lives() const { return lives_; }
  void receive(broker::ConnectionId from, protocol::Envelope envelope, std::size_t bytes);

  // ---- faults
  void kill();
  void set_space(broker::Space space);
  /// The next commit fails.
  void fail_store();

  /// What is stored; only while the broker is up.
  [[nodiscard]] const broker::MemoryState& rows() { return store_->rows(); }

 private:
  /// Thrown at a crash point, caught where the broker was entered.
  struct Dead {};
  struct Arrived {
    broker::ConnectionId from;
    protocol::Envelope envelope;
    std::size_t bytes = 0;
  };
  struct InFlight {
    std::uint64_t number = 0;
    std::vector<broker::Reply> replies;
    std::vector<broker::Read> reads;
    std::vector<JobId> payload_ids;
    std::size_t bytes = 0;
  };

  /// Runs `work` as a part of this life of the broker; a crash inside it ends the life.
  template <class Work>
  void alive(const Work& work);
  void crash_point();
  void die(SimStore::Death death);
  void restart_later();

  // ---- the front
  void wake(Duration in);
  void turn();
  void take_done();
  void take_reads();
  void receive_all();
  void receive_one(Arrived arrived);
  void take_effects();
  void send(std::vector<broker::Reply> replies);
  void send_one(broker::Reply reply);

  // ---- the store's thread
  void submit(broker::CommitTask task);
  void begin_task();
  void run_task();
  void commit(const broker::WriteBatch& writes);

  // ---- the reading thread
  void submit(broker::Read read);
  void run_read(broker::Read read);

  World& world_;
  std::unique_ptr<SimStore> store_;
  std::unique_ptr<broker::Engine> engine_;
  std::uint64_t lives_ = 0;
  std::uint64_t crash_in_ = 0;  ///< crash points from now
  Instant turn_at_ = Instant::max();
  Instant stalled_until_{};

  std::deque<Arrived> inbox_;
  std::deque<InFlight> in_flight_;
  std::uint64_t last_number_ = 0;
  std::size_t gathering_bytes_ = 0;
  std::size_t in_flight_bytes_ = 0;
  bool inbox_empty_ = true;
  Instant next_tick_{};
  broker::Space space_ = broker::Space::plenty;
  broker::Space space_told_ = broker::Space::plenty;

  std::deque<broker::CommitTask> tasks_;
  std::vector<broker::CommitDone> done_;
  bool head_is_committed_ = false;  ///< of `tasks_`, but not told
  bool store_failed_ = false;
  std::vector<broker::ReadAnswer> answers_;
};

}  // namespace millrace::simulation

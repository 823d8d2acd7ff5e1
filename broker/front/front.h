#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "broker/engine/engine.h"
#include "broker/engine/ports.h"
#include "broker/front/router.h"
#include "common/util/wakeup.h"

namespace millrace::broker {

/// Thread `mr-front`: the socket, the engine, and the order in which they meet the store. Receives,
/// lets the engine decide, hands its writes to the store and speaks when they are on disk. Commits
/// go two at a time: while one is being synced the next gathers, which is all the group commit
/// there is.
class Front {
 public:
  /// What the threads and the program tell it from outside; the only part other threads touch.
  struct Signals {
    Wakeup wakeup;  ///< something is done, or `stop` was set
    std::atomic<bool> stop{false};
  };
  struct Options {
    Limits limits;
    std::uint64_t min_free_bytes = 0;
  };

  Front(std::unique_ptr<Router> router, Engine engine, CommitPort& commits, ReadPort& reads,
        Signals& signals, const Options& options);

  /// Serves until `stop` is set and everything decided is on disk and told. Throws what a port
  /// threw; nothing is acknowledged after that.
  void run();

 private:
  /// A batch that is on its way to the disk, with what may be said once it is there.
  struct InFlight {
    std::uint64_t number = 0;
    std::vector<Reply> replies;
    std::vector<Read> reads;
    std::vector<JobId> payload_ids;
    std::size_t bytes = 0;
  };

  void front_take_done(Now now);
  void front_take_reads(Now now);
  void front_check_space(Now now);
  void front_receive(Now now);
  void front_receive_one(const Router::Frame& frame, Now now);
  void front_take_effects(Now now);
  void front_send(std::vector<Reply> replies, Now now);
  void front_send_one(Reply reply, Now now);
  void front_refuse(ConnectionId to, std::uint64_t correlation, const Error& error);

  std::unique_ptr<Router> router_;
  Engine engine_;
  CommitPort& commits_;
  ReadPort& reads_;
  Signals& signals_;
  Options options_;
  std::deque<InFlight> in_flight_;
  std::uint64_t last_number_ = 0;
  std::size_t gathering_bytes_ = 0;  // of ENQUEUEs since the last batch was taken
  std::size_t in_flight_bytes_ = 0;
  bool inbox_empty_ = true;
  Space space_ = Space::plenty;
  Instant next_tick_ = Instant::min();
};

}  // namespace millrace::broker

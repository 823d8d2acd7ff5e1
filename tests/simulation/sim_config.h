#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/limits.h"
#include "common/types.h"

namespace millrace::simulation {

/// Classes of trouble; each is on or off for a whole run.
#define MR_FAULTS(X)                                                                   \
  X(loss, "messages vanish between two peers that stay connected")                     \
  X(delay, "a message takes a second instead of milliseconds")                         \
  X(resend, "peers send again what was not answered, without need")                    \
  X(reconnect, "connections break and lose what was on the way")                       \
  X(cut, "links are cut in one or both directions, and heal")                          \
  X(freeze, "peers stand still, some longer than their leases")                        \
  X(worker_crash, "worker processes die and others take their place")                  \
  X(zombie, "outcomes of lost leases are sent again, also by other processes")         \
  X(broker_crash, "the broker dies at any point of its loop")                          \
  X(stall, "the broker stands still, and commits take seconds")                        \
  X(clock, "the wall clock is set, by up to days")                                     \
  X(disk_full, "free space goes below its limits")                                     \
  X(disk_fail, "a commit fails, so that the broker must halt")                         \
  X(admin, "jobs are cancelled, redriven, replayed, queues paused, closed and opened") \
  X(retention, "ended jobs are deleted after seconds")                                 \
  X(poison, "some jobs take their worker down")                                        \
  X(hang, "some runs go on past their timeout")                                        \
  X(expiry, "some jobs wait only for a time")                                          \
  X(unique, "some jobs have unique keys, of which there are few")                      \
  X(retries, "some jobs have a retry policy, or a bound of crashes of their own")      \
  X(outputs, "runs leave something behind, and some producers follow it")              \
  X(dismiss, "workers are dismissed")                                                  \
  X(kinds, "workers say that a kind is not to be replayed")                            \
  X(crashes, "processes of runs crash, and their workers say so")                      \
  X(children, "some runs enqueue further jobs")

enum class Fault : std::uint8_t {
#define MR_FAULT(name, meaning) name,
  MR_FAULTS(MR_FAULT)
#undef MR_FAULT
};
inline constexpr std::size_t kFaultCount = static_cast<std::size_t>(Fault::children) + 1;
/// From here on: no trouble, but features that a run uses or not.
inline constexpr std::size_t kFirstFeature = static_cast<std::size_t>(Fault::expiry);

[[nodiscard]] std::string_view to_string(Fault fault);
[[nodiscard]] bool parse(std::string_view name, Fault& fault);

class FaultSet {
 public:
  [[nodiscard]] bool has(Fault fault) const { return (bits_ >> static_cast<int>(fault) & 1) != 0; }
  void set(Fault fault) { bits_ |= 1U << static_cast<int>(fault); }
  void clear(Fault fault) { bits_ &= ~(1U << static_cast<int>(fault)); }

 private:
  std::uint32_t bits_ = 0;
};

enum class StoreKind : std::uint8_t { memory, powerloss };

/// What a run is told beside its seed; the reproducing command names all that is not the default.
struct SimRequest {
  std::uint64_t seed = 1;
  StoreKind store = StoreKind::memory;
  int synchronous = 2;          ///< PRAGMA synchronous: 2 is FULL, 1 is NORMAL
  Duration until{};             ///< end of the safety phase; zero: as drawn
  std::vector<Fault> without;   ///< classes that stay off
  std::uint64_t producers = 0;  ///< at most so many; zero: as drawn
  std::uint64_t workers = 0;
};

/// One world, drawn from its seed ("swarm" configuration: each class of faults is on or off, each
/// limit tiny or not).
struct SimConfig {
  SimRequest request;
  FaultSet faults;
  Duration fault_mean{};  ///< between two strikes of one class
  Duration until{};       ///< when the faults end
  std::size_t producers = 1;
  std::size_t workers = 1;
  Duration latency_max{};
  Duration commit_max{};  ///< of an ordinary commit
  Duration run_max{};     ///< of an ordinary run
  Duration think_max{};   ///< between two requests of a producer
  Duration lost_after{};
  Duration resume_grace{};
  Duration retention{};  ///< zero: for ever
  Duration clock_max{};  ///< by how much the wall clock is set at once
  Limits limits;
  std::size_t request_jobs_max = 1;
  int max_attempts_max = 1;
  std::size_t receive_max = 512;  ///< messages in one turn of the broker
  std::size_t hwm = 1000;         ///< messages on their way to one peer
  bool codec = false;             ///< every message goes through encode and decode
};

[[nodiscard]] SimConfig draw_config(const SimRequest& request);
/// One line for people.
[[nodiscard]] std::string describe(const SimConfig& config);
/// The command that runs it again.
[[nodiscard]] std::string command_of(const SimRequest& request, int mutant);

}  // namespace millrace::simulation

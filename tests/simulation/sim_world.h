#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "common/types.h"
#include "tests/simulation/event_log.h"
#include "tests/simulation/sim_config.h"
#include "tests/simulation/sim_random.h"
#include "tests/simulation/violation.h"

namespace millrace::simulation {

class History;
class Network;
class SimAdmin;
class SimBroker;
class SimProducer;
class SimWorker;
class Weather;

/// One broker, its peers, the network between them and the time they all live in. Everything runs
/// on one thread, in an order that depends on the configuration alone.
class World {
 public:
  World(const SimConfig& config, bool print_trace);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// The safety phase with faults, then the liveness phase in which everything must come to rest,
  /// then the rules. Throws Violation.
  void run();

  [[nodiscard]] const EventLog& log() const { return log_; }

  // ---- for those who live in it
  [[nodiscard]] Now now() const { return now_; }
  [[nodiscard]] const SimConfig& config() const { return config_; }
  [[nodiscard]] SimRandom& random() { return random_; }
  /// The faults are over.
  [[nodiscard]] bool healing() const { return healing_; }
  /// This class of trouble may happen now.
  [[nodiscard]] bool faulty(Fault fault) const { return !healing_ && config_.faults.has(fault); }
  void after(Duration delay, std::function<void()> what);
  void set_wall_clock(Duration by);
  /// The wall clock was set between these two moments.
  [[nodiscard]] bool clock_was_set(Instant from, Instant to) const;
  /// The latest and the earliest UTC that the clock has shown.
  [[nodiscard]] Time utc_max() const { return utc_max_; }
  [[nodiscard]] Time utc_min() const { return utc_min_; }
  template <class... Values>
  void note(const char* text, Values... values) {
    log_.add(now_.mono, text, {static_cast<std::uint64_t>(values)...});
  }

  [[nodiscard]] Network& network() { return *network_; }
  [[nodiscard]] SimBroker& broker() { return *broker_; }
  [[nodiscard]] History& history() { return *history_; }
  [[nodiscard]] std::vector<std::unique_ptr<SimWorker>>& workers() { return workers_; }

 private:
  struct Event {
    Instant at{};
    std::uint64_t number = 0;
    std::function<void()> what;
    bool operator>(const Event& other) const {
      return at != other.at ? at > other.at : number > other.number;
    }
  };

  void run_until(Instant end);
  void heal();
  /// What still moves; empty: nothing.
  [[nodiscard]] std::string unrest() const;
  void come_to_rest();

  const SimConfig config_;
  EventLog log_;
  SimRandom random_;
  Now now_;
  Time utc_max_{};
  Time utc_min_{};
  std::vector<Instant> clock_sets_;
  bool healing_ = false;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t last_event_ = 0;
  std::unique_ptr<History> history_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<SimBroker> broker_;
  std::vector<std::unique_ptr<SimProducer>> producers_;
  std::vector<std::unique_ptr<SimWorker>> workers_;
  std::unique_ptr<SimAdmin> admin_;
  std::unique_ptr<Weather> weather_;
};

}  // namespace millrace::simulation

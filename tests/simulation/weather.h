#pragma once

#include "tests/simulation/sim_world.h"

namespace millrace::simulation {

/// Strikes from outside, each class of fault at its own random moments until the faults end. What
/// happens inside (loss, delay, crashes between two effects) is with the network and the broker.
class Weather {
 public:
  explicit Weather(World& world) : world_(world) {}
  void begin();
  void heal();

 private:
  void strike_later(Fault fault);
  void strike(Fault fault);
  void freeze_one();

  World& world_;
};

}  // namespace millrace::simulation

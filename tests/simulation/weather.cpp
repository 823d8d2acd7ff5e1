#include "tests/simulation/weather.h"

#include "tests/simulation/history.h"
#include "tests/simulation/sim_broker.h"
#include "tests/simulation/sim_network.h"
#include "tests/simulation/sim_worker.h"

namespace millrace::simulation {
void Weather::begin() {
  for (const Fault fault : {Fault::reconnect, Fault::cut, Fault::freeze, Fault::worker_crash,
                            Fault::broker_crash, Fault::clock, Fault::disk_full, Fault::disk_fail})
    if (world_.faulty(fault)) strike_later(fault);
}

void Weather::strike_later(Fault fault) {
  const SimConfig& config = world_.config();
  // The broker dies at its own crash points; from here only now and then.
  const Duration mean = fault == Fault::broker_crash ? config.fault_mean * 4 : config.fault_mean;
  world_.after(world_.random().wait_for(mean), [this, fault] {
    if (!world_.faulty(fault)) return;
    strike(fault);
    strike_later(fault);
  });
}

void Weather::strike(Fault fault) {
  SimRandom& random = world_.random();
  switch (fault) {
    case Fault::reconnect:
      return world_.network().break_one();
    case Fault::cut:
      return world_.network().cut_one();
    case Fault::freeze:
      return freeze_one();
    case Fault::worker_crash:
      return random.pick(world_.workers())->die(random.chance(0.3));
    case Fault::broker_crash:
      return world_.broker().kill();
    case Fault::clock:
      return world_.set_wall_clock(
          random.between(-world_.config().clock_max, world_.config().clock_max));
    case Fault::disk_full:
      return world_.broker().set_space(static_cast<broker::Space>(random.below(3)));
    case Fault::disk_fail:
      return world_.broker().fail_store();
    default:
      return;
  }
}

void Weather::freeze_one() {
  SimRandom& random = world_.random();
  random.pick(world_.workers())->freeze(random.spread(Duration{200}, Duration{9000}));
}

void Weather::heal() {
  world_.network().heal();
  world_.broker().set_space(broker::Space::plenty);
}

}  // namespace millrace::simulation

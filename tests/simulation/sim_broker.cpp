#include "tests/simulation/sim_broker.h"

#include <algorithm>

#include "broker/admin/inspect.h"
#include "tests/simulation/history.h"
#include "tests/simulation/sim_network.h"

namespace millrace::simulation {
namespace {

using broker::Reply;

constexpr std::size_t kInFlightMax = 2;
constexpr Duration kBusyFor{100};
/// What a message is taken for when it was never encoded.
constexpr std::size_t kMessageBytes = 100;
constexpr std::uint64_t kCrashPointsMax = 4000;

}  // namespace

SimBroker::SimBroker(World& world, std::unique_ptr<SimStore> store)
    : world_(world), store_(std::move(store)) {}

SimBroker::~SimBroker() = default;

// ---- lives and deaths --------------------------------------------------------------------------

void SimBroker::start() {
  const SimConfig& config = world_.config();
  ++lives_;
  broker::Snapshot snapshot;
  if (world_.faulty(Fault::broker_crash) && world_.random().chance(0.1))
    store_->lose_power_soon(world_.random());
  try {
    store_->open();
    snapshot = store_->store().start();
  } catch (const broker::StoreError& error) {
    require(error.code() == ErrorCode::storage_failed && world_.faulty(Fault::broker_crash),
            "the store does not start: {}", error.what());
    world_.note("the power goes while the broker starts");
    store_->die(SimStore::Death::power, world_.random());
    return restart_later();
  }
  world_.note("the broker starts with epoch {}, {} leases, last job {}", snapshot.epoch,
              snapshot.leased.size(), snapshot.last_job.value);
  world_.history().restarted(store_->rows(), snapshot.epoch);
  broker::EngineOptions options;
  options.limits = config.limits;
  options.retention = config.retention;
  options.lost_after = config.lost_after;
  options.resume_grace = config.resume_grace;
  options.seed = world_.random().next();
  engine_ = std::make_unique<broker::Engine>(options, std::move(snapshot), world_.now());
  crash_in_ = 1 + world_.random().below(kCrashPointsMax);
  inbox_empty_ = true;
  space_told_ = broker::Space::plenty;
  stalled_until_ = {};
  world_.network().broker_is_up();
  wake(Duration{0});
}

template <class Work>
void SimBroker::alive(const Work& work) {
  try {
    work();
  } catch (const Dead&) {
    die(SimStore::Death::process);
  }
}

void SimBroker::crash_point() {
  if (world_.faulty(Fault::broker_crash) && --crash_in_ == 0) throw Dead{};
}

void SimBroker::kill() {
  if (up()) die(SimStore::Death::process);
}

void SimBroker::die(SimStore::Death death) {
  SimRandom& random = world_.random();
  if (world_.config().request.store == StoreKind::powerloss && random.chance(0.7))
    death = SimStore::Death::power;
  world_.note("the broker dies, with {} commits under way, power lost {}", tasks_.size(),
              death == SimStore::Death::power);
  // What the store's thread was about to write may still get there, or half of it.
  if (death == SimStore::Death::power && random.chance(0.6)) store_->lose_power_soon(random);
  if (std::exchange(head_is_committed_, false)) tasks_.pop_front();
  try {
    while (!store_failed_ && !tasks_.empty() && random.chance(0.5)) {
      commit(tasks_.front().writes);
      tasks_.pop_front();
    }
  } catch (const broker::StoreError& error) {
    require(error.code() == ErrorCode::storage_failed, "the store refuses a batch: {}",
            error.what());
    world_.note("the power goes during a commit");
  }
  engine_.reset();
  inbox_.clear();
  in_flight_.clear();
  tasks_.clear();
  done_.clear();
  answers_.clear();
  store_failed_ = false;
  gathering_bytes_ = in_flight_bytes_ = 0;
  turn_at_ = Instant::max();
  store_->die(death, random);
  world_.history().broker_died();
  world_.network().broker_is_down();
  restart_later();
}

void SimBroker::restart_later() {
  SimRandom& random = world_.random();
  const Duration away = random.chance(0.8) ? random.between(Duration{1}, Duration{1000})
                                           : random.between(Duration{1000}, Duration{8000});
  world_.after(away, [this] {
    if (world_.faulty(Fault::clock) && world_.random().chance(0.4))
      world_.set_wall_clock(
          world_.random().between(-world_.config().clock_max, world_.config().clock_max));
    start();
  });
}

void SimBroker::set_space(broker::Space space) {
  space_ = space;
  world_.note("free space is at level {}", static_cast<int>(space));
  wake(Duration{0});
}

void SimBroker::fail_store() {
  if (!up()) return;
  world_.note("the next commit fails");
  store_->fail_commit(world_.random());
}

// ---- the front ---------------------------------------------------------------------------------

void SimBroker::receive(broker::ConnectionId from, protocol::Envelope envelope, std::size_t bytes) {
  if (!up()) return;
  inbox_.push_back({from, std::move(envelope), bytes});
  wake(Duration{0});
}

void SimBroker::wake(Duration in) {
  if (!up()) return;
  const Instant at = std::max(world_.now().mono + in, stalled_until_);
  if (at >= turn_at_) return;
  turn_at_ = at;
  world_.after(at - world_.now().mono, [this, at, life = lives_] {
    if (!up() || life != lives_ || at != turn_at_) return;
    turn_at_ = Instant::max();
    alive([this] { turn(); });
  });
}

/// One turn of Front::run.
void SimBroker::turn() {
  const Now now = world_.now();
  take_done();
  take_reads();
  if (std::exchange(space_told_, space_) != space_)
    engine_->step(broker::SpaceChanged{space_}, now);
  receive_all();
  world_.history().decisions.looks_at_clocks(now);
  engine_->tick(now, inbox_empty_);
  send(engine_->take_replies_now());
  if (in_flight_.size() < kInFlightMax) take_effects();
  if (world_.faulty(Fault::stall) && world_.random().chance(0.003)) {
    stalled_until_ = now.mono + world_.random().spread(Duration{100}, Duration{6000});
    world_.note("the broker stands still until {}", stalled_until_.time_since_epoch().count());
  }
  if (!inbox_empty_) return wake(Duration{0});
  if (in_flight_.size() < kInFlightMax && next_tick_ != Instant::max())
    wake(std::max(Duration{1}, next_tick_ - now.mono));
}

void SimBroker::take_done() {
  if (store_failed_) {
    world_.note("the broker halts: its store has failed");
    throw Dead{};
  }
  for (broker::CommitDone& done : std::exchange(done_, {})) {
    InFlight batch = std::move(in_flight_.front());
    in_flight_.pop_front();
    require(batch.number == done.number, "batch {} finished before {}", done.number, batch.number);
    in_flight_bytes_ -= batch.bytes;
    crash_point();  // on disk, but nobody was told
    if (!batch.payload_ids.empty()) fill_payloads(batch.replies, batch.payload_ids, done.payloads);
    send(std::move(batch.replies));
    for (broker::Read& read : batch.reads) submit(std::move(read));
    for (broker::Loaded& loaded : done.loaded) {
      engine_->step(std::move(loaded), world_.now());
      crash_point();
    }
  }
}

void SimBroker::take_reads() {
  for (broker::ReadAnswer& answer : std::exchange(answers_, {})) {
    if (auto* reply = std::get_if<Reply>(&answer)) {
      send_one(std::move(*reply));
    } else if (auto* job = std::get_if<broker::JobRead>(&answer)) {
      engine_->step(std::move(*job), world_.now());
    } else {
      engine_->step(std::get<broker::ResultsRead>(std::move(answer)), world_.now());
    }
  }
}

void SimBroker::receive_all() {
  for (std::size_t i = 0; i < world_.config().receive_max; ++i) {
    inbox_empty_ = inbox_.empty();
    if (inbox_empty_) return;
    Arrived arrived = std::move(inbox_.front());
    inbox_.pop_front();
    receive_one(std::move(arrived));
  }
  inbox_empty_ = inbox_.empty();
}

void SimBroker::receive_one(Arrived arrived) {
  if (const auto* enqueue = std::get_if<protocol::Enqueue>(&arrived.envelope.message)) {
    const std::size_t bytes =
        arrived.bytes != 0 ? arrived.bytes : kMessageBytes * enqueue->jobs.size();
    if (in_flight_bytes_ + gathering_bytes_ > world_.config().limits.parked_bytes_max)
      return send_one({arrived.from, arrived.envelope.correlation,
                       protocol::make_error({ErrorCode::busy, "full", kBusyFor})});
    gathering_bytes_ += bytes;
  }
  engine_->step(broker::Received{arrived.from, arrived.envelope.correlation,
                                 std::move(arrived.envelope.message)},
                world_.now());
}

void SimBroker::take_effects() {
  broker::Effects effects = engine_->take_effects(world_.now());
  next_tick_ = effects.next_tick;
  send(std::move(effects.replies_now));
  world_.history().decided(effects.writes);
  const std::size_t bytes = std::exchange(gathering_bytes_, 0);
  if (!effects.needs_store() && in_flight_.empty()) {
    send(std::move(effects.replies));
    for (broker::Read& read : effects.reads) submit(std::move(read));
    return;
  }
  if (!effects.needs_store() && effects.replies.empty() && effects.reads.empty()) return;
  in_flight_bytes_ += bytes;
  in_flight_.push_back({++last_number_, std::move(effects.replies), std::move(effects.reads),
                        effects.payloads, bytes});
  crash_point();  // decided, but not with the store yet
  submit(broker::CommitTask{last_number_, std::move(effects.writes), std::move(effects.loads),
                            std::move(effects.payloads)});
}

void SimBroker::send(std::vector<Reply> replies) {
  for (Reply& reply : replies) {
    send_one(std::move(reply));
    crash_point();
  }
}

void SimBroker::send_one(Reply reply) {
  if (world_.network().deliver(reply.to, {reply.correlation, reply.message})) return;
  world_.note("nobody takes a reply on connection {}", reply.to.value);
  engine_->step(broker::Undelivered{std::move(reply)}, world_.now());
}

// ---- the store's thread ------------------------------------------------------------------------

void SimBroker::submit(broker::CommitTask task) {
  tasks_.push_back(std::move(task));
  if (tasks_.size() == 1) begin_task();
}

void SimBroker::begin_task() {
  SimRandom& random = world_.random();
  const bool slow = world_.faulty(Fault::stall) && random.chance(0.02);
  const Duration time = slow ? random.spread(Duration{200}, Duration{5000})
                             : random.between(Duration{0}, world_.config().commit_max);
  world_.after(time, [this, life = lives_] {
    if (up() && life == lives_ && !store_failed_) alive([this] { run_task(); });
  });
}

void SimBroker::run_task() {
  try {
    crash_point();
    const broker::CommitTask& task = tasks_.front();
    broker::CommitDone done{task.number, {}, {}};
    commit(task.writes);
    head_is_committed_ = true;
    crash_point();
    for (const broker::Load& load : task.loads) done.loaded.push_back(store_->store().load(load));
    if (!task.payloads.empty()) done.payloads = store_->store().payloads(task.payloads);
    world_.note("batch {} is on disk, with {} updates and {} loads", task.number,
                task.writes.updates.size(), task.loads.size());
    done_.push_back(std::move(done));
    tasks_.pop_front();
    head_is_committed_ = false;
    store_->store().maintain();
  } catch (const broker::StoreError& error) {
    require(error.code() == ErrorCode::storage_failed, "the store refuses a batch: {}",
            error.what());
    require(world_.config().faults.has(Fault::disk_fail), "the store fails by itself: {}",
            error.what());
    store_failed_ = true;
  }
  wake(Duration{0});
  if (!store_failed_ && !tasks_.empty()) begin_task();
}

void SimBroker::commit(const broker::WriteBatch& writes) {
  if (writes.empty()) return;
  store_->store().commit(writes);
  world_.history().committed(writes);
}

// ---- the reading thread ------------------------------------------------------------------------

void SimBroker::submit(broker::Read read) {
  world_.after(world_.random().between(Duration{0}, world_.config().commit_max),
               [this, life = lives_, read = std::move(read)]() mutable {
                 if (up() && life == lives_) run_read(std::move(read));
               });
}

void SimBroker::run_read(broker::Read read) {
  if (const auto* results = std::get_if<broker::ReadResults>(&read)) {
    answers_.emplace_back(store_->query().results(*results));
  } else if (const auto* job = std::get_if<broker::ReadJob>(&read)) {
    answers_.emplace_back(store_->query().job(*job));
  } else {
    answers_.emplace_back(
        broker::inspect(store_->query(), std::get<broker::Inspect>(std::move(read))));
  }
  wake(Duration{0});
}

}  // namespace millrace::simulation

#include "tests/support/engine_harness.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace millrace::broker {
namespace {

constexpr std::size_t kInFlightMax = 2;
constexpr int kTurnsMax = 100'000;
const Now kBeginning{Instant{Duration{1'000'000}}, Time{Duration{1'700'000'000'000}}};

SessionId session_id(std::uint64_t number) { return fmt::format("session-{:08}", number); }

}  // namespace

EngineHarness::EngineHarness(EngineOptions options)
    : options_(std::move(options)), now_(kBeginning), store_(std::make_unique<MemoryStore>()) {
  beat_at_ = now_.mono + kHeartbeat;
  restart();
}

// ---- time --------------------------------------------------------------------------------------

void EngineHarness::advance(Duration by) {
  const Instant end = now_.mono + by;
  run();
  while (now_.mono < end) {
    const Duration step = next_stop(end) - now_.mono;
    now_.mono += step;
    now_.utc += step;
    if (now_.mono >= beat_at_) beat_all();
    run();
  }
}

Instant EngineHarness::next_stop(Instant end) const {
  // A tick that is due at once gets a millisecond, so that time always passes.
  return std::min({end, beat_at_, std::max(next_tick_, now_.mono + Duration{1})});
}

void EngineHarness::beat_all() {
  beat_at_ = now_.mono + kHeartbeat;
  for (TestPeer& peer : peers_)
    if (peer.beats && peer.connection()) peer.beat();
}

void EngineHarness::stall(Duration by) {
  now_.mono += by;
  now_.utc += by;
  beat_at_ = std::max(beat_at_, now_.mono + Duration{1});
  run();
}

void EngineHarness::set_wall_clock(Duration by) {
  now_.utc += by;
  run();
}

// ---- the loop ----------------------------------------------------------------------------------

void EngineHarness::turn() {
  if (!engine_) throw std::logic_error("the broker is down");
  finish_commits();
  finish_reads();
  while (!arrived_.empty()) {
    Received message = std::move(arrived_.front());
    arrived_.pop_front();
    engine_->step(std::move(message), now_);
  }
  engine_->tick(now_, inbox_empty_);
  deliver_now(engine_->take_replies_now());
  idle_ = false;
  if (in_flight_.size() < kInFlightMax) take_effects();
}

bool EngineHarness::is_quiet() const {
  const bool commits = in_flight_.empty() || hold_commits_;
  const bool reads = reads_.empty() || hold_reads_;
  const bool taken = idle_ || (hold_commits_ && in_flight_.size() == kInFlightMax);
  return arrived_.empty() && commits && reads && taken;
}

void EngineHarness::run() {
  for (int turns = 0; turns < kTurnsMax; ++turns) {
    turn();
    if (is_quiet()) return;
  }
  throw std::runtime_error("the broker does not come to rest");
}

void EngineHarness::take_effects() {
  Effects effects = engine_->take_effects(now_);
  next_tick_ = effects.next_tick;
  deliver_now(std::exchange(effects.replies_now, {}));
  const bool nothing = effects.replies.empty() && effects.reads.empty();
  idle_ = !effects.needs_store() && nothing;
  if (idle_) return;
  in_flight_.push_back({std::move(effects), commit_turns_});
}

void EngineHarness::finish_commits() {
  if (hold_commits_) return;
  for (InFlight& batch : in_flight_)
    if (batch.turns_left > 0) --batch.turns_left;
  while (!in_flight_.empty() && in_flight_.front().turns_left == 0) {
    InFlight batch = std::move(in_flight_.front());
    in_flight_.pop_front();
    commit(std::move(batch));
  }
}

void EngineHarness::commit(InFlight batch) {
  Effects& effects = batch.effects;
  store_->commit(effects.writes);
  audit_.note(effects.writes, disk());
  std::vector<Loaded> loaded;
  for (const Load& load : effects.loads) loaded.push_back(store_->load(load));
  loads_ += effects.loads.size();
  fill_payloads(effects.replies, effects.payloads, store_->payloads(effects.payloads));
  if (keep_writes_ && !effects.writes.empty()) writes_.push_back(std::move(effects.writes));
  deliver(std::move(effects.replies));
  for (Read& read : effects.reads) reads_.push_back(std::move(read));
  for (Loaded& one : loaded) engine_->step(std::move(one), now_);
}

void EngineHarness::finish_reads() {
  if (hold_reads_) return;
  for (Read& read : std::exchange(reads_, {}))
    std::visit([&](auto& one) { finish_read(std::move(one)); }, read);
}

void EngineHarness::finish_read(ReadResults read) { engine_->step(store_->results(read), now_); }

void EngineHarness::finish_read(Inspect read) {
  if (const auto* list = std::get_if<protocol::List>(&read.request))
    return deliver_one({read.to, read.correlation, store_->page(*list)});
  auto item = store_->item(std::get<protocol::Show>(read.request));
  if (item) return deliver_one({read.to, read.correlation, std::move(*item)});
  deliver_one({read.to, read.correlation,
               protocol::make_error({ErrorCode::not_found, "there is no such thing", {}})});
}

void EngineHarness::finish_read(const ReadJob& read) { engine_->step(store_->job(read), now_); }

void EngineHarness::finish_read(const MakeBackup& read) {
  deliver_one({read.to, read.correlation, protocol::BackedUp{read.path, 1, disk().jobs.size()}});
}

void EngineHarness::deliver_now(std::vector<Reply> replies) {
  for (Reply& reply : replies) {
    // Only these can be true whatever becomes of the batch being gathered.
    const bool harmless = std::holds_alternative<protocol::Welcome>(reply.message) ||
                          std::holds_alternative<protocol::Heartbeat>(reply.message) ||
                          std::holds_alternative<protocol::ErrorReply>(reply.message);
    if (!harmless)
      throw std::runtime_error("told ahead of its commit: " + TestPeer::describe(reply.message));
    deliver_one(std::move(reply));
  }
}

void EngineHarness::deliver(std::vector<Reply> replies) {
  for (Reply& reply : replies) deliver_one(std::move(reply));
}

void EngineHarness::deliver_one(Reply reply) {
  for (TestPeer& peer : peers_) {
    if (peer.connection() != reply.to || peer.deaf) continue;
    if (!peer.lossy) peer.receive(reply.correlation, std::move(reply.message));
    return;
  }
  engine_->step(Undelivered{std::move(reply)}, now_);
}

void EngineHarness::set_space(Space space) {
  engine_->step(SpaceChanged{space}, now_);
  run();
}

// ---- crashes -----------------------------------------------------------------------------------

void EngineHarness::crash(std::size_t kept) {
  for (std::size_t i = 0; i < kept && i < in_flight_.size(); ++i) {
    store_->commit(in_flight_[i].effects.writes);
    audit_.note(in_flight_[i].effects.writes, disk());
  }
  engine_.reset();
  in_flight_.clear();
  reads_.clear();
  arrived_.clear();
  for (TestPeer& peer : peers_) peer.disconnect();
}

void EngineHarness::restart() { restart(options_); }

void EngineHarness::restart(EngineOptions options) {
  if (engine_) crash();
  options_ = std::move(options);
  store_ = std::make_unique<MemoryStore>(store_->durable());
  engine_ = std::make_unique<Engine>(options_, store_->start(), now_);
  hold_commits_ = hold_reads_ = false;
  next_tick_ = now_.mono;
  run();
}

// ---- peers -------------------------------------------------------------------------------------

TestPeer& EngineHarness::add_peer(protocol::Role role) {
  const std::uint64_t number = peers_.size() + 1;
  return peers_.emplace_back(*this, role, session_id(number), number);
}

TestPeer& EngineHarness::stranger(protocol::Role role) { return add_peer(role); }

TestPeer& EngineHarness::producer() {
  TestPeer& peer = add_peer(protocol::Role::producer);
  peer.hello();
  return peer;
}

TestPeer& EngineHarness::worker(const OfferOptions& options) {
  TestPeer& peer = add_peer(protocol::Role::worker);
  peer.hello();
  peer.offer(options);
  peer.resume();
  peer.credit_all();
  return peer;
}

// ---- looking -----------------------------------------------------------------------------------

std::uint64_t EngineHarness::count(JobState state, const std::string& queue) const {
  std::uint64_t total = 0;
  for (const auto& [id, lane] : disk().lanes)
    if (lane.queue == queue) total += lane.counts.at(static_cast<std::size_t>(state));
  return total;
}

QueueState EngineHarness::queue_state(const std::string& queue) const {
  return disk().queues.at(queue).state;
}

}  // namespace millrace::broker

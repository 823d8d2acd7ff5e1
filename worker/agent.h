#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/net/peer.h"
#include "common/protocol/messages.h"
#include "worker/executor.h"
#include "worker/registry.h"
#include "worker/workbench.h"

namespace millrace::worker {

struct AgentOptions {
  std::string endpoint = kEndpointDefault;
  std::string name;
  std::vector<std::string> queues = {kQueueDefault};
  protocol::Until until = protocol::Until::drained;
  /// After a stop or a dismissal: how long running jobs may take to finish before they are asked to
  /// stop.
  Duration grace{30'000};
};

/// Why the agent ended: what the program says and returns.
struct Farewell {
  int exit_code = 0;
  std::string text;
};

/// The worker's side of the conversation: one session with the broker, from the first HELLO to BYE.
/// Everything but stop() belongs to the thread that calls run(), `mr-agent`.
class Agent {
 public:
  /// All references and the executors of `pools` must outlive it.
  Agent(AgentOptions options, const Registry& registry, const std::vector<PoolSpec>& pools,
        CompletionQueue& completions, OutputBuffer& outputs, ChildJobs& children);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  /// Works until the queues are drained, stop() was called, or the broker refuses this worker.
  [[nodiscard]] Farewell run();

  /// Any thread: give back what has not started, finish what runs within the grace, then end.
  void stop(int signal) noexcept;

 private:
  class PeerLink;

  void handle(net::Event event, Instant now);
  void on_connected(const protocol::Welcome& welcome, Instant now);
  void on_reply(net::Replied replied, Instant now);
  void on_push(protocol::Message message, Instant now);
  void on_drained(protocol::Drained drained, Instant now);
  void send_resume(Instant now);
  /// On whose word, and what to say to people about it.
  void begin_stop(std::string_view whose, std::string_view hint, Instant now);
  void say_where_we_are(Instant now);
  [[nodiscard]] bool finished(Instant now);
  [[nodiscard]] Duration until_next(Instant now) const;
  [[nodiscard]] Farewell farewell() const;

  AgentOptions options_;
  const Registry& registry_;
  CompletionQueue& completions_;
  std::unique_ptr<net::Peer> peer_;
  std::unique_ptr<PeerLink> link_;
  Workbench bench_;
  std::atomic<int> stop_signal_{0};

  std::uint64_t resume_ = 0;  // correlation of the newest RESUME
  std::optional<Instant> resume_again_at_;
  std::optional<protocol::Drained> drained_;
  std::optional<Farewell> refused_;
  std::optional<Instant> grace_ends_at_;  // set while stopping
  bool runs_stopped_ = false;
  bool was_connected_ = false;
  Instant say_again_at_{};
};

/// What a worker says that was sent home.
[[nodiscard]] std::string drained_text(const protocol::Drained& drained, const Tally& tally);

}  // namespace millrace::worker

#include "producer/queue_close.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/util/clock.h"

namespace millrace::producer {
namespace {

/// A DRAINED that was lost with a connection is asked for again this often.
constexpr Duration kAskAgainAfter{5000};

bool is_over(const protocol::QueueInfo& queue, std::uint64_t generation) {
  return queue.generation != generation || queue.state == protocol::QueueState::drained;
}

}  // namespace

Status wait_drained(Client& client, const std::string& queue, std::uint64_t generation) {
  const protocol::Close again{.queue = queue, .wait = true, .generation = generation};
  Instant asked_at = read_clocks().mono;
  while (true) {
    const auto events = client.wait(Duration{1000});
    if (!events) return tl::make_unexpected(events.error());
    bool ask_again = read_clocks().mono - asked_at >= kAskAgainAfter;
    for (const net::Event& event : *events) {
      ask_again = ask_again || std::holds_alternative<net::Connected>(event);
      if (const auto* reply = std::get_if<net::Replied>(&event)) {
        const auto* info = std::get_if<protocol::QueueInfo>(&reply->message);
        if (info != nullptr && is_over(*info, generation)) return {};
        if (info != nullptr && info->state == protocol::QueueState::open)
          return fail(ErrorCode::queue_open,
                      fmt::format("queue `{}` was opened again, so it does not drain", queue));
      }
      const auto* pushed = std::get_if<net::Pushed>(&event);
      const auto* drained =
          pushed == nullptr ? nullptr : std::get_if<protocol::Drained>(&pushed->message);
      if (drained != nullptr &&
          std::any_of(drained->queues.begin(), drained->queues.end(), [&](const auto& one) {
            return one.queue == queue && one.generation >= generation;
          }))
        return {};
    }
    if (!ask_again) continue;
    asked_at = read_clocks().mono;
    client.send(again);
  }
}

}  // namespace millrace::producer

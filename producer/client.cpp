#include "producer/client.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/util/clock.h"
#include "common/util/instrument.h"
#include "common/util/parse.h"

namespace millrace::producer {
namespace {

/// A turn never waits longer, so that every deadline is noticed in time.
constexpr Duration kTurnMax{200};
/// What a busy broker that gives no advice is given.
constexpr Duration kRetryAfter{100};
/// Everything that matters was answered before we leave; BYE alone is not worth a long wait.
constexpr Duration kLinger{200};

net::PeerOptions peer_options(const ClientOptions& options) {
  return {.endpoint = options.broker,
          .role = protocol::Role::producer,
          .name = options.name,
          .linger = kLinger};
}

}  // namespace

std::optional<Duration> retry_delay(const protocol::ErrorReply& error) {
  const ErrorCode code = error_code(error.code);
  // What holds the key may hold it for long: that is for the asker to decide upon.
  if (code == ErrorCode::unique_conflict) return std::nullopt;
  if (code == ErrorCode::busy) return std::max(error.after, kRetryAfter);
  if (error.retryable && error.after > Duration{0}) return error.after;
  return std::nullopt;
}

bool is_readable(int fd) {
  pollfd item{fd, POLLIN, 0};
  return fd >= 0 && ::poll(&item, 1, 0) > 0;
}

bool wait_for_input(int fd, int stop_fd) {
  std::array<pollfd, 2> items{{{fd, POLLIN, 0}, {stop_fd, POLLIN, 0}}};
  while (::poll(items.data(), items.size(), -1) < 0 && errno == EINTR) {
  }
  return items[1].revents == 0;
}

Client::Client(ClientOptions options)
    : options_(std::move(options)), peer_(peer_options(options_)) {}

Client::~Client() { peer_.tell(protocol::Bye{}); }

Status Client::connect() {
  while (!peer_.connected())
    if (const auto events = wait(kTurnMax); !events) return tl::make_unexpected(events.error());
  return {};
}

std::uint64_t Client::send(protocol::Message request) {
  const std::uint64_t correlation = peer_.request(std::move(request));
  sent_.insert(correlation);
  return correlation;
}

Result<std::vector<net::Event>> Client::wait(Duration timeout, int input_fd) {
  // Before the poll: what it returns must not be lost.
  if (is_readable(options_.stop_fd)) return fail(ErrorCode::stopping, "interrupted");
  std::array<int, 2> fds{};
  std::size_t count = 0;
  if (options_.stop_fd >= 0) fds[count++] = options_.stop_fd;
  if (input_fd >= 0) fds[count++] = input_fd;
  auto events =
      peer_.poll(std::clamp(timeout, Duration{0}, kTurnMax), std::span(fds.data(), count));
  if (const Status good = check(events); !good) return tl::make_unexpected(good.error());
  return events;
}

Status Client::check(const std::vector<net::Event>& events) {
  for (const net::Event& event : events) {
    if (std::holds_alternative<net::Connected>(event)) met_ = true;
    const auto* reply = std::get_if<net::Replied>(&event);
    if (reply == nullptr || sent_.erase(reply->correlation) != 0) continue;
    // Not an answer to anything of ours: the broker refused HELLO.
    const auto* error = std::get_if<protocol::ErrorReply>(&reply->message);
    if (error != nullptr && !error->retryable) return tl::make_unexpected(to_error(*error));
  }
  const Duration patience = met_ ? options_.reconnect : options_.first_contact;
  if (peer_.unreachable_for() < patience || peer_.connected()) return {};
  return fail(ErrorCode::unreachable,
              fmt::format("no answer from a broker at {} for {}{}", options_.broker,
                          format_duration(patience),
                          met_ ? "" : "; is `millrace-broker` running, and is --broker right?"));
}

Result<protocol::Message> Client::ask(const protocol::Message& request, Patience kind) {
  Instant since = read_clocks().mono;
  std::optional<Instant> again_at;
  instrument::crash_point("producer.before_command");
  std::uint64_t correlation = send(request);
  instrument::crash_point("producer.after_command_sent");
  const Duration patience = std::max(options_.reconnect, options_.first_contact);
  while (true) {
    auto events = wait(kTurnMax);
    if (!events) {
      peer_.forget(correlation);
      return tl::make_unexpected(events.error());
    }
    const Instant now = read_clocks().mono;
    for (net::Event& event : *events) {
      if (std::holds_alternative<net::Connected>(event) && !again_at) since = now;
      auto* reply = std::get_if<net::Replied>(&event);
      if (reply == nullptr || reply->correlation != correlation) continue;
      const auto* error = std::get_if<protocol::ErrorReply>(&reply->message);
      if (error == nullptr) {
        instrument::crash_point("producer.after_command");
        return std::move(reply->message);
      }
      const auto delay = retry_delay(*error);
      if (!delay || now - since > patience) return tl::make_unexpected(to_error(*error));
      again_at = now + *delay;
    }
    if (again_at && now >= *again_at) {
      again_at.reset();
      correlation = send(request);
    } else if (kind == Patience::bounded && !again_at && peer_.connected() &&
               now - since > patience) {
      peer_.forget(correlation);
      return fail(ErrorCode::timeout,
                  fmt::format("the broker did not answer within {}", format_duration(patience)));
    }
  }
}

}  // namespace millrace::producer

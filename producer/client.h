#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/errors.h"
#include "common/limits.h"
#include "common/net/peer.h"
#include "common/protocol/messages.h"

namespace millrace::producer {

struct ClientOptions {
  std::string broker = kEndpointDefault;
  std::string name = "producer";
  /// How long the broker may be out of reach before the first answer, and at any later time.
  Duration first_contact{5000};
  Duration reconnect{60'000};
  /// Becomes readable when the program is asked to stop; what waits then ends with `stopping`.
  int stop_fd = -1;
};

/// A producer's connection: waits for the broker as long as it may, asks and gets answers.
/// Belongs to one thread; every function that waits says so. Says BYE when it is destroyed.
class Client {
 public:
  /// Throws std::runtime_error when `broker` is no endpoint. Does not wait.
  explicit Client(ClientOptions options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Waits until the broker has said WELCOME. Errors: unreachable, stopping, the broker's refusal.
  [[nodiscard]] Status connect();
  [[nodiscard]] const protocol::Welcome& welcome() const { return peer_.welcome(); }
  [[nodiscard]] const std::string& broker() const { return options_.broker; }
  [[nodiscard]] Duration reconnect() const { return options_.reconnect; }

  /// Asks and waits for the answer, through reconnects and as long as the broker is busy.
  /// Errors: unreachable, stopping, timeout, what the broker answers.
  template <class Reply>
  [[nodiscard]] Result<Reply> call(const protocol::Message& request) {
    return expect<Reply>(ask(request, Patience::bounded));
  }
  /// The same for what may take the broker any time to answer: a wait, a backup. Without end while
  /// the broker is there.
  template <class Reply>
  [[nodiscard]] Result<Reply> call_long(const protocol::Message& request) {
    return expect<Reply>(ask(request, Patience::unbounded));
  }

  // For those who have several requests under way:

  /// Sends a request; it is sent again after every reconnect until it is answered.
  std::uint64_t send(protocol::Message request);
  /// Sends without asking for an answer; lost when there is no session just now.
  void tell(const protocol::Message& message) { peer_.tell(message); }
  /// Waits at most `timeout` for the broker, or until `input_fd` (-1: none) is readable.
  /// Errors: unreachable, stopping, the broker's refusal of the session.
  [[nodiscard]] Result<std::vector<net::Event>> wait(Duration timeout, int input_fd = -1);

 private:
  enum class Patience : std::uint8_t { bounded, unbounded };

  template <class Reply>
  [[nodiscard]] static Result<Reply> expect(Result<protocol::Message> reply) {
    if (!reply) return tl::make_unexpected(std::move(reply).error());
    if (auto* expected = std::get_if<Reply>(&*reply)) return std::move(*expected);
    return fail(ErrorCode::internal, "the broker answered with a message of the wrong type");
  }
  [[nodiscard]] Result<protocol::Message> ask(const protocol::Message& request, Patience patience);
  [[nodiscard]] Status check(const std::vector<net::Event>& events);

  ClientOptions options_;
  net::Peer peer_;
  std::set<std::uint64_t> sent_;  // requests without an answer
  bool met_ = false;              // the broker has said WELCOME at least once
};

/// After which delay the same request may succeed, or nothing when sending it again is no use.
[[nodiscard]] std::optional<Duration> retry_delay(const protocol::ErrorReply& error);

/// True when `fd` can be read without blocking, also at its end.
[[nodiscard]] bool is_readable(int fd);
/// Blocks until `fd` can be read; false when `stop_fd` (-1: none) became readable.
[[nodiscard]] bool wait_for_input(int fd, int stop_fd);

}  // namespace millrace::producer

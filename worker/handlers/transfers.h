#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "worker/handlers/easy.h"
#include "worker/loop/event_loop.h"

namespace millrace::worker {

struct TransferOptions {
  std::size_t connections_max = 64;  ///< kept for reuse, those in use included
  std::size_t host_limit = 0;        ///< transfers of one host at once; 0: no limit
};

/// Many HTTP transfers at once on an event loop: one CURLM, its connections, the names it looked
/// up, and handles that are used again. All of it belongs to the loop's thread, where it is made
/// and ended. What happens costs the same whatever else is under way.
class Transfers final : private FdListener {
 public:
  /// Names one transfer; never used twice.
  using Id = std::uint64_t;
  /// Sets the options of a handle that has none.
  using Prepare = std::function<void(Easy&)>;
  /// The transfer has ended, and is forgotten after the call.
  using Done = std::function<void(const Easy&, CURLcode)>;

  /// `loop` must outlive it. Throws std::runtime_error when there is no memory.
  Transfers(EventLoop& loop, const TransferOptions& options);
  /// Breaks off what is under way, without a word.
  ~Transfers();
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  /// Begins a transfer, or lets it wait while `host` has as many as it may: `prepare` is called
  /// when it begins, so its time limits do not run before. Calls `done` later, never from here.
  /// Throws what `prepare` throws when it begins at once, std::runtime_error when curl cannot.
  Id add(const std::string& host, Prepare prepare, Done done);
  /// Breaks a transfer off at once; `done` is not called. Nothing happens when it has ended.
  void remove(Id id);

  [[nodiscard]] bool has_host_limit() const { return options_.host_limit > 0; }

 private:
  struct Transfer {
    Id id = 0;
    std::string host;
    Prepare prepare;
    Done done;
    std::unique_ptr<Easy> easy = nullptr;  // none: it waits
  };
  struct Host {
    std::size_t active = 0;
    std::deque<Id> waiting;
  };
  /// Of a file descriptor that curl asked to watch.
  struct Socket {
    bool is_connection = false;  // from connect to close; else curl may close it unannounced
    bool is_idle = false;        // curl does not want its events, though the loop watches
  };

  static int on_socket(CURL*, curl_socket_t fd, int what, void* self, void*);
  static int on_timer(CURLM*, long timeout_ms, void* self);
  static int on_connect(void* self, curl_socket_t fd, curlsocktype);
  static int on_close(void* self, curl_socket_t fd);
  void on_events(int fd, std::uint32_t events) override;

  [[nodiscard]] Socket& socket(curl_socket_t fd);
  void set_watch(curl_socket_t fd, int what);
  void set_timer(long timeout_ms);
  void act(curl_socket_t fd, int events);
  void read_messages();
  void begin(Transfer& transfer);
  void begin_next(const std::string& host);
  void release(Transfer& transfer);
  void leave_host(const Transfer& transfer);

  EventLoop& loop_;
  const TransferOptions options_;
  CURLM* multi_;
  std::unordered_map<Id, std::unique_ptr<Transfer>> transfers_;
  std::unordered_map<std::string, Host> hosts_;  // only with a limit
  std::vector<std::unique_ptr<Easy>> pool_;
  std::vector<Socket> sockets_;  // by file descriptor
  std::optional<EventLoop::TimerKey> timer_;
  Id last_id_ = 0;
};

}  // namespace millrace::worker

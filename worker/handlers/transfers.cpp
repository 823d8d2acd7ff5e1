#include "worker/handlers/transfers.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <stdexcept>
#include <utility>

#include "common/assert.h"

namespace millrace::worker {
namespace {

template <class T>
void set(CURLM* multi, CURLMoption option, T value) {
  const CURLMcode code = curl_multi_setopt(multi, option, value);
  MR_ASSERT(code == CURLM_OK, "multi option {}: {}", static_cast<int>(option),
            curl_multi_strerror(code));
}

}  // namespace

Transfers::Transfers(EventLoop& loop, const TransferOptions& options)
    : loop_(loop), options_(options), multi_(curl_multi_init()) {
  if (multi_ == nullptr) throw std::runtime_error("other: libcurl has no memory for a loop");
  set(multi_, CURLMOPT_SOCKETFUNCTION, &Transfers::on_socket);
  set(multi_, CURLMOPT_SOCKETDATA, static_cast<void*>(this));
  set(multi_, CURLMOPT_TIMERFUNCTION, &Transfers::on_timer);
  set(multi_, CURLMOPT_TIMERDATA, static_cast<void*>(this));
  set(multi_, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_MULTIPLEX));
  set(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(options_.connections_max));
}

Transfers::~Transfers() {
  for (const auto& [id, transfer] : transfers_)
    if (transfer->easy) curl_multi_remove_handle(multi_, transfer->easy->get());
  transfers_.clear();
  curl_multi_cleanup(multi_);  // closes the connections, through on_close
  if (timer_) loop_.cancel(*timer_);
}

// ---- the way of one transfer -------------------------------------------------------------------

Transfers::Id Transfers::add(const std::string& host, Prepare prepare, Done done) {
  const Id id = ++last_id_;
  auto made = std::make_unique<Transfer>(Transfer{id, host, std::move(prepare), std::move(done)});
  Transfer& transfer = *made;
  const auto known = hosts_.find(host);
  if (known != hosts_.end() && known->second.active >= options_.host_limit)
    known->second.waiting.push_back(id);
  else
    begin(transfer);
  transfers_.emplace(id, std::move(made));
  return id;
}

/// Only curl's timer is set here; the transfer itself makes its first step when that comes, with
/// all others that begin in the same turn.
void Transfers::begin(Transfer& transfer) {
  if (pool_.empty()) {
    transfer.easy = std::make_unique<Easy>();
  } else {
    transfer.easy = std::move(pool_.back());
    pool_.pop_back();
    transfer.easy->reset();
  }
  Easy& easy = *transfer.easy;
  transfer.prepare(easy);
  easy.set(CURLOPT_PRIVATE, static_cast<void*>(&transfer));
  easy.set(CURLOPT_SOCKOPTFUNCTION, &Transfers::on_connect);
  easy.set(CURLOPT_SOCKOPTDATA, static_cast<void*>(this));
  easy.set(CURLOPT_CLOSESOCKETFUNCTION, &Transfers::on_close);
  easy.set(CURLOPT_CLOSESOCKETDATA, static_cast<void*>(this));
  // Else the end of a transfer would wait for a thread that looks a name up.
  easy.set(CURLOPT_QUICK_EXIT, 1L);
  if (const CURLMcode code = curl_multi_add_handle(multi_, easy.get()); code != CURLM_OK)
    throw std::runtime_error(fmt::format("other: {}", curl_multi_strerror(code)));
  if (options_.host_limit > 0) ++hosts_[transfer.host].active;
}

void Transfers::remove(Id id) {
  const auto found = transfers_.find(id);
  if (found == transfers_.end()) return;
  const std::unique_ptr<Transfer> transfer = std::move(transfers_.extract(found).mapped());
  if (!transfer->easy) {
    Host& host = hosts_[transfer->host];
    std::erase(host.waiting, id);
    return;
  }
  release(*transfer);
  leave_host(*transfer);
}

void Transfers::release(Transfer& transfer) {
  curl_multi_remove_handle(multi_, transfer.easy->get());
  pool_.push_back(std::move(transfer.easy));
}

void Transfers::leave_host(const Transfer& transfer) {
  if (options_.host_limit == 0) return;
  --hosts_[transfer.host].active;
  begin_next(transfer.host);
}

/// One that cannot begin ends here; the next takes its place.
void Transfers::begin_next(const std::string& name) {
  while (true) {
    const auto host = hosts_.find(name);
    if (host == hosts_.end()) return;
    if (host->second.waiting.empty()) {
      if (host->second.active == 0) hosts_.erase(host);
      return;
    }
    if (host->second.active >= options_.host_limit) return;
    const Id id = host->second.waiting.front();
    host->second.waiting.pop_front();
    const auto found = transfers_.find(id);
    try {
      begin(*found->second);
    } catch (const std::exception&) {
      const std::unique_ptr<Transfer> failed = std::move(transfers_.extract(found).mapped());
      const Easy none;
      failed->done(failed->easy ? *failed->easy : none, CURLE_FAILED_INIT);
    }
  }
}

void Transfers::read_messages() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    char* data = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &data);
    const Id id = reinterpret_cast<const Transfer*>(data)->id;
    const std::unique_ptr<Transfer> transfer =
        std::move(transfers_.extract(transfers_.find(id)).mapped());
    // What curl knows of it stays in the handle until that is used again.
    curl_multi_remove_handle(multi_, transfer->easy->get());
    transfer->done(*transfer->easy, code);
    pool_.push_back(std::move(transfer->easy));
    leave_host(*transfer);
  }
}

// ---- curl and the loop -------------------------------------------------------------------------

int Transfers::on_socket(CURL*, curl_socket_t fd, int what, void* self, void*) {
  static_cast<Transfers*>(self)->set_watch(fd, what);
  return 0;
}

int Transfers::on_timer(CURLM*, long timeout_ms, void* self) {
  static_cast<Transfers*>(self)->set_timer(timeout_ms);
  return 0;
}

int Transfers::on_connect(void* self, curl_socket_t fd, curlsocktype) {
  static_cast<Transfers*>(self)->socket(fd) = {.is_connection = true};
  return CURL_SOCKOPT_OK;
}

int Transfers::on_close(void* self, curl_socket_t fd) {
  auto& transfers = *static_cast<Transfers*>(self);
  transfers.loop_.unwatch(fd);
  transfers.socket(fd) = {};
  return close(fd);
}

Transfers::Socket& Transfers::socket(curl_socket_t fd) {
  const auto index = static_cast<std::size_t>(fd);
  if (index >= sockets_.size()) sockets_.resize(index + 1);
  return sockets_[index];
}

/// Between two transfers of a connection curl has no wish for its events. The watch stays all the
/// same, as the next transfer mostly comes before anything happens: that saves two system calls for
/// each transfer.
void Transfers::set_watch(curl_socket_t fd, int what) {
  Socket& about = socket(fd);
  about.is_idle = what == CURL_POLL_REMOVE || what == CURL_POLL_NONE;
  if (about.is_idle) {
    if (!about.is_connection) loop_.unwatch(fd);
    return;
  }
  const std::uint32_t events =
      ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0U) | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0U);
  try {
    loop_.watch(fd, events, *this);
  } catch (const std::exception&) {
    // Out of memory for one more watch: the transfer ends by its time limit.
  }
}

void Transfers::set_timer(long timeout_ms) {
  if (timer_) loop_.cancel(*timer_);
  timer_.reset();
  if (timeout_ms < 0) return;
  timer_ = loop_.after(Duration{timeout_ms}, [this] {
    timer_.reset();
    act(CURL_SOCKET_TIMEOUT, 0);
  });
}

void Transfers::on_events(int fd, std::uint32_t events) {
  if (socket(fd).is_idle) {
    // The other side closed it, or sends what nobody asked for. curl looks before it uses it again.
    loop_.unwatch(fd);
    return;
  }
  const int what = ((events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                   ((events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                   ((events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
  act(fd, what);
}

void Transfers::act(curl_socket_t fd, int events) {
  int running = 0;
  const CURLMcode code = curl_multi_socket_action(multi_, fd, events, &running);
  MR_ASSERT(code == CURLM_OK, "curl_multi_socket_action: {}", curl_multi_strerror(code));
  read_messages();
}

}  // namespace millrace::worker

#include "worker/process/child.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "common/limits.h"
#include "worker/text.h"

namespace millrace::worker {
namespace {

constexpr std::size_t kReadBytes = 64 * kKiB;
/// Read from one pipe in one turn, so that endless output does not hold up the others.
constexpr int kReadsPerTurn = 4;

struct Pipe {
  Descriptor ours;
  Descriptor theirs;
};

Pipe make_pipe(bool child_reads) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0)
    throw std::system_error(errno, std::generic_category(), "cannot make a pipe for a child");
  Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  fcntl(child_reads ? writing.get() : reading.get(), F_SETFL, O_NONBLOCK);
  if (child_reads) return {std::move(writing), std::move(reading)};
  return {std::move(reading), std::move(writing)};
}

/// Reads what there is; false at the end of the stream.
template <class Take>
bool read_some(int fd, const Take& take) {
  static thread_local std::array<char, kReadBytes> buffer;
  for (int i = 0; i < kReadsPerTurn; ++i) {
    const ssize_t size = read(fd, buffer.data(), buffer.size());
    if (size > 0) {
      take(std::string_view(buffer.data(), static_cast<std::size_t>(size)));
    } else if (size == 0) {
      return false;
    } else if (errno != EINTR) {
      return errno == EAGAIN;
    }
  }
  return true;
}

}  // namespace

Child::Child(EventLoop& loop, const Nursery& nursery, const SpawnRequest& request,
             Listener& listener)
    : loop_(loop), nursery_(nursery), listener_(listener), id_(request.id) {
  Pipe input = make_pipe(true);
  Pipe output = make_pipe(false);
  Pipe errors = make_pipe(false);
  nursery_.spawn(request, {input.theirs.get(), output.theirs.get(), errors.theirs.get()});
  input_ = std::move(input.ours);
  output_ = std::move(output.ours);
  errors_ = std::move(errors.ours);
  loop_.watch(output_.get(), EPOLLIN, *this);
  loop_.watch(errors_.get(), EPOLLIN, *this);
}

Child::~Child() {
  if (input_watched_) loop_.unwatch(input_.get());
  if (output_) loop_.unwatch(output_.get());
  if (errors_) loop_.unwatch(errors_.get());
}

void Child::write(std::string bytes) {
  if (!input_) return;
  if (unwritten_.empty())
    unwritten_ = std::move(bytes);
  else
    unwritten_ += bytes;
  if (!input_watched_) flush();
}

void Child::close_input() {
  input_closing_ = true;
  if (!input_watched_) flush();
}

void Child::on_events(int fd, std::uint32_t) {
  if (fd == output_.get()) {
    read_output();
  } else if (fd == errors_.get()) {
    read_errors();
  } else {
    loop_.unwatch(fd);
    input_watched_ = false;
    flush();
  }
}

void Child::flush() {
  std::size_t written = 0;
  while (input_ && written < unwritten_.size()) {
    const ssize_t size =
        ::write(input_.get(), unwritten_.data() + written, unwritten_.size() - written);
    if (size > 0) {
      written += static_cast<std::size_t>(size);
    } else if (errno == EAGAIN) {
      loop_.watch(input_.get(), EPOLLOUT, *this);
      input_watched_ = true;
      break;
    } else if (errno != EINTR) {
      input_.reset();  // it closed its stdin, or is gone; its end will be told
    }
  }
  unwritten_.erase(0, written);
  if (!input_) unwritten_.clear();
  if (unwritten_.empty() && input_closing_) input_.reset();
}

void Child::pause_output(bool paused) {
  if (!output_) return;
  if (paused)
    loop_.unwatch(output_.get());
  else
    loop_.watch(output_.get(), EPOLLIN, *this);
}

void Child::read_output() {
  const bool open =
      read_some(output_.get(), [this](std::string_view part) { listener_.on_output(*this, part); });
  if (open) return;
  loop_.unwatch(output_.get());
  output_.reset();
  listener_.on_output_closed(*this);
}

void Child::read_errors() {
  const bool open = read_some(errors_.get(), [this](std::string_view part) {
    error_bytes_ += part.size();
    tail_ += part;
    if (tail_.size() > 2 * kErrorTailMax) tail_.erase(0, tail_.size() - kErrorTailMax);
  });
  if (open) return;
  loop_.unwatch(errors_.get());
  errors_.reset();
}

void Child::drain() {
  if (errors_) read_errors();
  if (output_) read_output();
}

void Child::forget_errors() {
  tail_.clear();
  error_bytes_ = 0;
}

std::string Child::error_tail() const {
  std::string_view tail = tail_;
  while (!tail.empty() && (tail.back() == '\n' || tail.back() == ' ')) tail.remove_suffix(1);
  if (tail.size() > kErrorTailMax) tail.remove_prefix(tail.size() - kErrorTailMax);
  // From the beginning of a line, where there is one.
  if (const std::size_t line = tail.find('\n');
      tail.size() < tail_.size() && line < tail.size() / 2)
    tail.remove_prefix(line + 1);
  return to_utf8(tail);
}

}  // namespace millrace::worker

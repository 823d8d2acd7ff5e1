#include "producer/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "common/util/clock.h"
#include "producer/output.h"

namespace millrace::producer {
namespace {

constexpr Duration kDrawEvery{100};
constexpr std::size_t kBarColumnsMax = 30;
constexpr std::size_t kColumnsDefault = 80;

bool is_set(const char* name) {
  // Read once, before any other thread starts. NOLINTNEXTLINE(concurrency-mt-unsafe)
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

bool is_dumb_terminal() {
  // As above. NOLINTNEXTLINE(concurrency-mt-unsafe)
  const char* term = std::getenv("TERM");
  return term != nullptr && std::string_view(term) == "dumb";
}

std::size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kColumnsDefault;
  return size.ws_col;
}

}  // namespace

std::string render_progress(const ProgressState& state, std::size_t columns, bool color) {
  const std::uint64_t done = std::min(state.done, state.total);
  const std::uint64_t percent = state.total == 0 ? 0 : done * 100 / state.total;
  std::string text = fmt::format(" {:3} % {}/{} {}", percent, format_count(done),
                                 format_count(state.total), format_rate(done, state.elapsed));
  std::string failures;
  if (state.failed > 0) failures = fmt::format(" {} failed", format_count(state.failed));
  const std::size_t used = text.size() + failures.size() + 2;
  const std::size_t bar = used < columns ? std::min(kBarColumnsMax, columns - used) : 0;
  if (bar < 3) return (text + failures).substr(1, columns);
  const std::size_t full = state.total == 0 ? 0 : done * bar / state.total;
  if (color && !failures.empty()) failures = "\x1b[31m" + failures + "\x1b[0m";
  return fmt::format("[{:=<{}}{:<{}}]{}{}", "", full, "", bar - full, text, failures);
}

Progress::Progress()
    : shown_(isatty(STDERR_FILENO) == 1 && !is_dumb_terminal()), color_(!is_set("NO_COLOR")) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (!std::exchange(drawn_, false)) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
}

void Progress::draw(const ProgressState& state) {
  if (!shown_) return;
  const Instant now = read_clocks().mono;
  if (drawn_ && now - drawn_at_ < kDrawEvery) return;
  drawn_ = true;
  drawn_at_ = now;
  fmt::print(stderr, "\r{}\x1b[K", render_progress(state, terminal_columns() - 1, color_));
  std::fflush(stderr);
}

}  // namespace millrace::producer

#include "tests/simulation/run_seed.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "tests/simulation/sim_world.h"

namespace millrace::simulation {
namespace {

constexpr std::size_t kEventsShown = 60;
/// One run in fifty is run twice, to see that nothing but its seed decides.
constexpr std::uint64_t kTwiceEvery = 50;

Verdict run_once(const SimRequest& request, bool print_trace) {
  World world(draw_config(request), print_trace);
  try {
    world.run();
    return {true, {}, {}, world.log().hash()};
  } catch (const std::exception& error) {
    return {false, error.what(), world.log().last(kEventsShown), world.log().hash()};
  }
}

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

[[noreturn]] void child(const SimRequest& request, int out) {
  const int null = ::open("/dev/null", O_WRONLY);
  ::dup2(null, STDERR_FILENO);
  const Verdict verdict = run_seed(request);
  write_all(out, verdict.ok ? "" : verdict.message);
  std::error_code ignored;
  std::filesystem::remove_all(fmt::format("/dev/shm/millrace-sim-{}", ::getpid()), ignored);
  ::_exit(verdict.ok ? 0 : 1);
}

}  // namespace

Verdict run_seed(const SimRequest& request, bool print_trace) {
  Verdict verdict = run_once(request, print_trace);
  if (!verdict.ok || request.seed % kTwiceEvery != 0) return verdict;
  const Verdict again = run_once(request, false);
  if (again.hash != verdict.hash || !again.ok)
    return {false, "the same seed ran differently the second time", again.events, again.hash};
  return verdict;
}

Verdict run_apart(const SimRequest& request) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  const pid_t pid = ::fork();
  if (pid == 0) child(request, ends[1]);
  ::close(ends[1]);
  Verdict verdict;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = ::read(ends[0], buffer.data(), buffer.size())) > 0;)
    verdict.message.append(buffer.data(), static_cast<std::size_t>(got));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  verdict.ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!verdict.ok && verdict.message.empty())
    verdict.message = "the process ended: a broken assertion, or a crash";
  return verdict;
}

}  // namespace millrace::simulation

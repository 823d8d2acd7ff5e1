#include "tests/simulation/runner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <map>
#include <new>

namespace millrace::simulation {
namespace {

constexpr std::size_t kFailuresKept = 64;
constexpr std::size_t kMessageBytes = 400;
constexpr std::size_t kJobsMax = 64;

/// What the processes share.
struct Board {
  struct Entry {
    std::uint64_t seed = 0;
    std::array<char, kMessageBytes> message{};
  };
  std::atomic<std::uint64_t> next{0};   ///< index of the next seed
  std::atomic<std::uint64_t> ended{0};  ///< seeds that are through
  std::atomic<std::uint64_t> failed{0};
  std::array<std::atomic<std::uint64_t>, kJobsMax> current{};  ///< index + 1 of each process
  std::array<Entry, kFailuresKept> failures{};

  void fail(std::uint64_t seed, const std::string& message) {
    const std::uint64_t slot = failed++;
    if (slot >= kFailuresKept) return;
    failures.at(slot).seed = seed;
    std::strncpy(failures.at(slot).message.data(), message.c_str(), kMessageBytes - 1);
  }
};

class SharedBoard {
 public:
  SharedBoard()
      : memory_(::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                       -1, 0)) {
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    board_ = new (memory_) Board;
  }
  ~SharedBoard() { ::munmap(memory_, sizeof(Board)); }
  SharedBoard(const SharedBoard&) = delete;
  SharedBoard& operator=(const SharedBoard&) = delete;
  Board* operator->() { return board_; }
  Board& operator*() { return *board_; }

 private:
  void* memory_;
  Board* board_;
};

[[noreturn]] void work(Board& board, std::size_t job, SimRequest request,
                       const std::vector<std::uint64_t>& seeds, const RunOptions& options) {
  if (options.quiet) ::dup2(::open("/dev/null", O_WRONLY), STDERR_FILENO);
  while (board.failed < options.failures_max) {
    const std::uint64_t index = board.next++;
    if (index >= seeds.size()) break;
    board.current.at(job) = index + 1;
    request.seed = seeds[index];
    const Verdict verdict = run_seed(request);
    if (!verdict.ok) board.fail(request.seed, verdict.message);
    ++board.ended;
    board.current.at(job) = 0;
  }
  ::_exit(0);
}

pid_t spawn(Board& board, std::size_t job, const SimRequest& request,
            const std::vector<std::uint64_t>& seeds, const RunOptions& options) {
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) work(board, job, request, seeds, options);
  return pid;
}

Tally read(const Board& board) {
  Tally tally{board.ended, {}};
  for (std::size_t i = 0; i < std::min<std::size_t>(board.failed, kFailuresKept); ++i)
    tally.failures.push_back({board.failures.at(i).seed, board.failures.at(i).message.data()});
  std::sort(tally.failures.begin(), tally.failures.end(),
            [](const Failure& a, const Failure& b) { return a.seed < b.seed; });
  return tally;
}

}  // namespace

Tally run_seeds(const SimRequest& request, const std::vector<std::uint64_t>& seeds,
                const RunOptions& options) {
  SharedBoard board;
  std::map<pid_t, std::size_t> processes;
  const std::size_t jobs = std::clamp<std::size_t>(options.jobs, 1, kJobsMax);
  for (std::size_t job = 0; job < jobs; ++job)
    processes[spawn(*board, job, request, seeds, options)] = job;
  while (!processes.empty()) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, 0);
    const auto found = processes.find(pid);
    if (found == processes.end()) continue;
    const std::size_t job = found->second;
    processes.erase(found);
    std::error_code ignored;
    std::filesystem::remove_all(fmt::format("/dev/shm/millrace-sim-{}", pid), ignored);
    const std::uint64_t index = board->current.at(job).exchange(0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    if (index != 0) {
      board->fail(seeds[index - 1], "the process ended: a broken assertion, or a crash");
      ++board->ended;
    }
    processes[spawn(*board, job, request, seeds, options)] = job;
  }
  return read(*board);
}

}  // namespace millrace::simulation

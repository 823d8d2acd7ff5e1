#include "common/util/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <memory>
#include <set>
#include <string>
#include <string_view>

namespace millrace {
namespace {

/// Rounds after which what still forks has to be ended by its limit of processes.
constexpr int kRoundsMax = 100;

std::string read_small_file(const std::string& path) {
  std::string text;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  std::array<char, 4096> part{};
  for (ssize_t size = 0; (size = read(fd, part.data(), part.size())) > 0;)
    text.append(part.data(), static_cast<std::size_t>(size));
  close(fd);
  return text;
}

void append_pids(const std::string& text, std::vector<pid_t>& pids) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    pid_t pid = 0;
    const auto read = std::from_chars(at, end, pid);
    if (read.ec == std::errc{}) pids.push_back(pid);
    at = read.ptr == at ? at + 1 : read.ptr;
  }
}

}  // namespace

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> pids;
  const std::string folder = fmt::format("/proc/{}/task", pid);
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(opendir(folder.c_str()), &closedir);
  if (!tasks) return pids;
  while (const dirent* entry = readdir(tasks.get()))  // NOLINT(concurrency-mt-unsafe): ours alone
    if (entry->d_name[0] != '.')
      append_pids(read_small_file(fmt::format("{}/{}/children", folder, entry->d_name)), pids);
  return pids;
}

std::vector<pid_t> tree_of(pid_t root, std::size_t max) {
  std::vector<pid_t> found{root};
  for (std::size_t i = 0; i < found.size() && found.size() < max; ++i)
    for (const pid_t child : children_of(found[i])) found.push_back(child);
  return found;
}

std::size_t threads_of_user(uid_t user) {
  std::size_t count = 0;
  const std::unique_ptr<DIR, int (*)(DIR*)> all(opendir("/proc"), &closedir);
  if (!all) return count;
  while (const dirent* entry = readdir(all.get())) {  // NOLINT(concurrency-mt-unsafe): ours alone
    const std::string_view name = entry->d_name;
    if (name.find_first_not_of("0123456789") != std::string_view::npos) continue;
    struct stat info {};
    if (stat(fmt::format("/proc/{}", name).c_str(), &info) != 0 || info.st_uid != user) continue;
    const std::string status = read_small_file(fmt::format("/proc/{}/status", name));
    constexpr std::string_view kThreads = "\nThreads:\t";
    const std::size_t at = status.find(kThreads);
    std::size_t threads = 0;
    if (at != std::string::npos)
      std::from_chars(status.data() + at + kThreads.size(), status.data() + status.size(), threads);
    count += threads;
  }
  return count;
}

bool is_dead(pid_t pid) {
  const std::string stat = read_small_file(fmt::format("/proc/{}/stat", pid));
  // The state follows the name, which may have anything in it, in brackets.
  const std::size_t name_end = stat.rfind(')');
  return name_end == std::string::npos || name_end + 2 >= stat.size() ||
         stat[name_end + 2] == 'Z' || stat[name_end + 2] == 'X';
}

std::uint64_t resident_bytes(pid_t pid) {
  const std::string statm = read_small_file(fmt::format("/proc/{}/statm", pid));
  std::uint64_t pages = 0;
  const std::size_t space = statm.find(' ');
  if (space == std::string::npos) return 0;
  std::from_chars(statm.data() + space + 1, statm.data() + statm.size(), pages);
  return pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

void kill_tree(pid_t root) {
  // Stopped first, so that a process cannot fork behind our back once we have looked at it.
  std::set<pid_t> seen{root};
  kill(root, SIGSTOP);
  std::vector<pid_t> order{root};
  for (int round = 0; round < kRoundsMax; ++round) {
    const std::size_t before = seen.size();
    for (std::size_t i = 0; i < order.size(); ++i) {
      for (const pid_t child : children_of(order[i])) {
        if (!seen.insert(child).second) continue;
        kill(child, SIGSTOP);
        order.push_back(child);
      }
    }
    if (seen.size() == before) break;
  }
  for (const pid_t pid : order) kill(pid, SIGKILL);
}

}  // namespace millrace

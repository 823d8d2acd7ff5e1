#include "worker/process/child_settings.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/limits.h"
#include "worker/process/child_serve.h"
#include "worker/process/spawn_child.h"

namespace millrace::worker {

Result<ChildUser> find_child_user(const std::string& name) {
  if (geteuid() != 0) {
    if (name.empty()) return ChildUser{};
    return fail(ErrorCode::bad_config,
                fmt::format("--child-user {}: only a worker that is root can start children as "
                            "another user",
                            name));
  }
  const std::string wanted = name.empty() ? "nobody" : name;
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 16 * kKiB> buffer{};
  getpwnam_r(wanted.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr)
    return fail(ErrorCode::bad_config,
                fmt::format("there is no user `{}` that children could run as; name one with "
                            "--child-user, or start the worker as another user than root",
                            wanted));
  if (entry.pw_uid == 0)
    return fail(ErrorCode::bad_config, "--child-user: children do not run as root");
  return ChildUser{entry.pw_uid, entry.pw_gid};
}

ProcessSpec make_process_spec(const PoolPlan& plan, const Kind& kind, const ChildSettings& settings,
                              ChildUser user) {
  ProcessSpec spec;
  spec.kind = plan.kind;
  spec.command = kind.command;
  spec.once = kind.once;
  spec.size = plan.size;
  if (kind.command.empty()) {
    spec.self = true;
    spec.command = own_command_line();
    spec.environment.push_back(fmt::format("{}={}", kChildVariable, plan.kind));
  }
  spec.jobs_per_child = settings.jobs_per_child;
  spec.memory_growth_max = settings.memory_growth.bytes;
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(settings.cpu_time).count();
  spec.limits = {.memory_bytes = settings.memory.bytes,
                 .cpu_seconds = static_cast<std::uint64_t>(seconds),
                 .files = settings.files,
                 .processes = settings.processes};
  spec.user = user;
  return spec;
}

std::vector<std::string> own_command_line() {
  std::ifstream file("/proc/self/cmdline");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\0', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

Status check_program(const std::string& program, bool whole_path) {
  if (whole_path && !program.starts_with('/'))
    return fail(ErrorCode::bad_config,
                fmt::format("`{}` is not the whole path of a program", program));
  for (const std::string& candidate : program_candidates(program))
    if (access(candidate.c_str(), X_OK) == 0) return {};
  return fail(ErrorCode::bad_config,
              fmt::format("there is no program `{}` that could be run", program));
}

bool has_one_thread() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks)) == 1;
}

}  // namespace millrace::worker

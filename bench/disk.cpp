#include "bench/disk.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace millrace::bench {
namespace {

struct Mount {
  std::string type;
  std::string device;
};

/// The mount that holds `path`: in proc(5) mountinfo, the last of the longest mount points.
Mount mount_of(const std::string& path) {
  std::ifstream mounts("/proc/self/mountinfo");
  Mount found{"unknown", "unknown"};
  std::size_t longest = 0;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string word;
    std::string point;
    for (int field = 1; field <= 5; ++field) words >> point;
    while (words >> word && word != "-") continue;
    Mount mount;
    words >> mount.type >> mount.device;
    const bool holds = path == point || path.starts_with(point == "/" ? point : point + "/");
    if (!holds || point.size() < longest) continue;
    longest = point.size();
    found = mount;
  }
  return found;
}

bool is_memory(const Mount& mount) { return mount.type == "tmpfs" || mount.type == "ramfs"; }

}  // namespace

Disk make_folder() {
  namespace fs = std::filesystem;
  const char* chosen = std::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe): no thread yet
  std::vector<std::string> places{"/tmp", "/var/tmp"};
  if (chosen != nullptr && *chosen != '\0') places = {chosen};
  for (const std::string& place : places) {
    const Mount mount = mount_of(fs::canonical(place).string());
    if (is_memory(mount) && places.size() > 1 && place != places.back()) continue;
    std::string folder = place + "/millrace-bench-XXXXXX";
    if (mkdtemp(folder.data()) == nullptr) throw std::runtime_error("cannot make " + folder);
    const char* warning = is_memory(mount) ? " (NOT A DISK: set TMPDIR)" : "";
    return {folder, fmt::format("{} on {}{}", mount.type, mount.device, warning)};
  }
  throw std::runtime_error("no place for files");
}

}  // namespace millrace::bench

#include "common/util/instrument.h"

#ifdef MILLRACE_INSTRUMENTED

#include <unistd.h>

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <string_view>

namespace millrace::instrument {
namespace {

std::atomic<int> chosen_mutant{0};

struct CrashAt {
  std::string_view name;
  int count = 1;
  const char* armed = nullptr;  ///< file without which visits do not count
};

CrashAt read_crash_at() {
  const char* text = std::getenv("MILLRACE_CRASH_AT");  // NOLINT(concurrency-mt-unsafe): never set
  if (text == nullptr) return {};
  const std::string_view all = text;
  const auto colon = all.rfind(':');
  CrashAt at{all.substr(0, colon)};
  at.armed = std::getenv("MILLRACE_CRASH_ARMED");  // NOLINT(concurrency-mt-unsafe): never set
  if (colon != std::string_view::npos)
    std::from_chars(all.data() + colon + 1, all.data() + all.size(), at.count);
  return at;
}

}  // namespace

bool mutant(int n) { return chosen_mutant.load(std::memory_order_relaxed) == n; }
void choose_mutant(int n) { chosen_mutant = n; }

void crash_point(const char* name) {
  static const CrashAt at = read_crash_at();
  static std::atomic<int> visits{0};
  if (at.name != name || (at.armed != nullptr && access(at.armed, F_OK) != 0)) return;
  if (++visits != at.count) return;
  std::raise(SIGKILL);
}

}  // namespace millrace::instrument

#endif

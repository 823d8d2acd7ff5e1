#include "producer/compare/advice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace millrace::producer {
namespace {

/// What differs by less is as good as the same.
constexpr double kNear = 1.1;
/// A run that keeps a CPU busy for less than this part of its time waits.
constexpr double kComputes = 0.5;
/// Below it a run is about as long as the road to it, and is told so.
constexpr double kLittleGain = 1.2;
/// So long, as a part of its time, an inline run waits for a CPU only where others use them.
constexpr double kCrowded = 0.1;
/// Shorter measurements say little.
constexpr double kShort = 0.1;

class Advice {
 public:
  Advice(const std::string& kind, const std::vector<Figures>& rows) : kind_(kind), rows_(rows) {}

  [[nodiscard]] std::string text() const {
    std::string choice = choose();
    const Figures* alone = row(Way::inline_run);
    if (alone != nullptr && alone->seconds >= kShort &&
        alone->delayed_s > kCrowded * alone->seconds)
      return choice + " (other programs used the CPUs meanwhile: repeat it when they do not)";
    const Figures* quick = fastest();
    if (quick == nullptr || quick->seconds >= kShort) return choice;
    return fmt::format("{} (measured over {} only: more --jobs make it steadier)", choice,
                       format_time(quick->seconds));
  }

 private:
  [[nodiscard]] const Figures* row(Way way) const {
    const auto found = std::find_if(rows_.begin(), rows_.end(),
                                    [&](const Figures& figures) { return figures.way == way; });
    return found == rows_.end() ? nullptr : &*found;
  }
  [[nodiscard]] const Figures* good(Way way) const {
    const Figures* found = row(way);
    return found != nullptr && found->is_good() ? found : nullptr;
  }
  /// Of the ways that are not inline.
  [[nodiscard]] const Figures* fastest() const {
    const Figures* best = nullptr;
    for (const Figures& figures : rows_)
      if (figures.way != Way::inline_run && figures.is_good() &&
          (best == nullptr || figures.seconds < best->seconds))
        best = &figures;
    return best;
  }

  [[nodiscard]] std::string choose() const {
    if (std::any_of(rows_.begin(), rows_.end(), [](const Figures& f) { return f.died; }))
      return after_a_crash();
    const Figures* best = fastest();
    if (best == nullptr) return nothing_worked();
    const Figures* alone = good(Way::inline_run);
    if (alone == nullptr) return without_inline(*best);
    if (alone->seconds < best->seconds && mean(*alone) < 1e-3) return too_small(*alone);
    return busy_share(*alone) < kComputes ? for_waiting(*alone, *best)
                                          : for_computing(*alone, *best);
  }

  [[nodiscard]] std::string after_a_crash() const {
    const Figures* process = row(Way::process);
    if (process == nullptr || !process->ran)
      return fmt::format("none: `{}` takes down whatever runs it; mend that first", kind_);
    return fmt::format(
        "processes: `{}` takes down the process that runs it; in one of its own that fails its job "
        "alone, elsewhere it ends the whole worker with all that it runs",
        kind_);
  }

  [[nodiscard]] std::string nothing_worked() const {
    for (const Figures& figures : rows_)
      if (figures.failed > 0)
        return "none: jobs failed everywhere, so the times say nothing; mend them first";
    return fmt::format("none: `{}` could not be run anywhere", kind_);
  }

  [[nodiscard]] std::string without_inline(const Figures& best) const {
    if (best.way == Way::process)
      return fmt::format(
          "processes: the only place for this kind; --executor {}=process:N says how many (here "
          "{})",
          kind_, best.slots);
    return fmt::format("{}: the fastest of those that worked", title(best.way));
  }

  /// The queue costs more than the work.
  [[nodiscard]] std::string too_small(const Figures& alone) const {
    const Figures* cheapest = nullptr;
    for (const Way way : {Way::thread, Way::process, Way::loop})
      if (const Figures* figures = good(way))
        if (cheapest == nullptr || figures->seconds * kNear < cheapest->seconds) cheapest = figures;
    return fmt::format(
        "{}, but put more work into each job: one takes {}, to hand it over takes {}",
        title(cheapest->way), format_time(mean(alone)), format_time(mean(*cheapest)));
  }

  [[nodiscard]] std::string for_waiting(const Figures& alone, const Figures& best) const {
    const int busy = static_cast<int>(std::lround(100 * busy_share(alone)));
    const std::string why = fmt::format("the jobs wait ({} % CPU)", busy);
    const Figures* loop = good(Way::loop);
    const Figures* thread = good(Way::thread);
    if (loop != nullptr && loop->seconds <= kNear * best.seconds)
      return fmt::format("loop: {}, and one thread holds {} of them at once{}", why, loop->slots,
                         thread == nullptr ? "" : "; choose threads for handlers that must block");
    if (thread != nullptr && thread->seconds <= kNear * best.seconds)
      return fmt::format(
          "threads: {}, so there may be many more of them than CPUs: --executor {}=thread:N (here "
          "{}); for hundreds at once write the handler for the loop",
          why, kind_, thread->slots);
    return fmt::format("{}: {} and {} at once were the fastest; try threads with a larger --size",
                       title(best.way), why, best.slots);
  }

  [[nodiscard]] std::string for_computing(const Figures& alone, const Figures& best) const {
    std::string text = threads_or_processes(best);
    if (alone.seconds < kLittleGain * best.seconds)
      text += "; little is gained over inline: the jobs share something, are too few or too short";
    return text;
  }

  [[nodiscard]] std::string threads_or_processes(const Figures& best) const {
    const Figures* thread = good(Way::thread);
    const Figures* process = good(Way::process);
    constexpr const char* kSafety = "choose processes if a job may crash, leak or hang";
    if (thread == nullptr || process == nullptr)
      return fmt::format("{}: the fastest of those that worked", title(best.way));
    if (process->seconds * kNear < thread->seconds)
      return fmt::format(
          "processes: {:.1f} times as fast as threads here; where that repeats, jobs on threads "
          "wait "
          "for each other (a lock, an allocator)",
          thread->seconds / process->seconds);
    if (thread->seconds * kNear < process->seconds)
      return fmt::format("threads: {:.1f} times as fast as processes; {}",
                         process->seconds / thread->seconds, kSafety);
    return fmt::format("threads: as fast as processes and cheaper ({} instead of {}); {}",
                       format_memory(thread->memory_bytes), format_memory(process->memory_bytes),
                       kSafety);
  }

  [[nodiscard]] static double mean(const Figures& figures) {
    return figures.seconds / static_cast<double>(std::max<std::uint64_t>(figures.jobs, 1));
  }

  const std::string& kind_;
  const std::vector<Figures>& rows_;
};

}  // namespace

std::string advise(const std::string& kind, const std::vector<Figures>& rows) {
  return Advice(kind, rows).text();
}

}  // namespace millrace::producer

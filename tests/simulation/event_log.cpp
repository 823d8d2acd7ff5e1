#include "tests/simulation/event_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace millrace::simulation {

void EventLog::add(Instant at, const char* text, std::array<std::uint64_t, 3> values) {
  const auto mix = [this](std::uint64_t value) {
    hash_ = (hash_ ^ value) * 0x9FB21C651E98DF25ULL;
    hash_ ^= hash_ >> 32;
  };
  mix(static_cast<std::uint64_t>(at.time_since_epoch().count()));
  for (const char* at_char = text; *at_char != '\0'; ++at_char)
    mix(static_cast<unsigned char>(*at_char));
  for (const std::uint64_t value : values) mix(value);
  Event& event = events_[count_++ % kKept];
  event = {at, text, values};
  if (print_) std::printf("%s\n", line(event).c_str());
}

std::string EventLog::line(const Event& event) {
  return fmt::format(
      "{:>9} {}", event.at.time_since_epoch().count(),
      fmt::format(fmt::runtime(event.text), event.values[0], event.values[1], event.values[2]));
}

std::string EventLog::last(std::size_t lines) const {
  std::string text;
  const std::uint64_t kept = std::min<std::uint64_t>({lines, kKept, count_});
  for (std::uint64_t i = count_ - kept; i < count_; ++i) text += line(events_[i % kKept]) + "\n";
  return text;
}

}  // namespace millrace::simulation

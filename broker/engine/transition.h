#pragma once

// The one transition table. docs/state_machine.md draws it; a unit test walks every cell.

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "common/types.h"

namespace millrace::broker {

enum class JobEvent : std::uint8_t {
  due,        ///< its run_at has come
  lease,      ///< given to a worker
  ack,        ///< done
  retry,      ///< failed, attempts left
  bury,       ///< failed, no attempts left, rejected, or poison
  give_back,  ///< released, recalled, undelivered, or its worker was lost
  cancel,
  redrive,  ///< made ready again by hand
  expire,   ///< its expires_at has come while it waits
};
inline constexpr std::size_t kJobEventCount = 9;

/// The state after `event`, or nothing when the event is refused in this state.
[[nodiscard]] constexpr std::optional<JobState> next_state(JobState state, JobEvent event) {
  using enum JobState;
  switch (event) {
    case JobEvent::due:
      return state == scheduled ? std::optional(ready) : std::nullopt;
    case JobEvent::lease:
      return state == ready ? std::optional(leased) : std::nullopt;
    case JobEvent::ack:
      return state == leased ? std::optional(done) : std::nullopt;
    case JobEvent::retry:
      return state == leased ? std::optional(scheduled) : std::nullopt;
    case JobEvent::bury:
      return state == leased ? std::optional(dead) : std::nullopt;
    case JobEvent::give_back:
      return state == leased ? std::optional(ready) : std::nullopt;
    case JobEvent::cancel:
      return is_final(state) ? std::nullopt : std::optional(cancelled);
    case JobEvent::redrive:
      return state == dead || state == cancelled ? std::optional(ready) : std::nullopt;
    case JobEvent::expire:
      return state == blocked || state == scheduled || state == ready ? std::optional(expired)
                                                                      : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace millrace::broker

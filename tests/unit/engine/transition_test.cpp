// Every cell of the transition table.

#include "broker/engine/transition.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>

namespace millrace::broker {
namespace {

using enum JobState;
using Row = std::array<std::optional<JobState>, kJobStateCount>;

constexpr auto kNo = std::optional<JobState>{};

/// Columns: blocked, scheduled, ready, leased, done, dead, cancelled, expired.
constexpr std::array<Row, kJobEventCount> kTable = {
    Row{kNo, ready, kNo, kNo, kNo, kNo, kNo, kNo},                        // due
    Row{kNo, kNo, leased, kNo, kNo, kNo, kNo, kNo},                       // lease
    Row{kNo, kNo, kNo, done, kNo, kNo, kNo, kNo},                         // ack
    Row{kNo, kNo, kNo, scheduled, kNo, kNo, kNo, kNo},                    // retry
    Row{kNo, kNo, kNo, dead, kNo, kNo, kNo, kNo},                         // bury
    Row{kNo, kNo, kNo, ready, kNo, kNo, kNo, kNo},                        // give_back
    Row{cancelled, cancelled, cancelled, cancelled, kNo, kNo, kNo, kNo},  // cancel
    Row{kNo, kNo, kNo, kNo, kNo, ready, ready, kNo},                      // redrive
    Row{expired, expired, expired, kNo, kNo, kNo, kNo, kNo},              // expire
};

class TransitionTable : public ::testing::TestWithParam<int> {};

TEST_P(TransitionTable, EveryCellOfTheEventIsAsDrawn) {
  const auto event = static_cast<std::size_t>(GetParam());
  for (std::size_t state = 0; state < kJobStateCount; ++state)
    EXPECT_EQ(next_state(static_cast<JobState>(state), static_cast<JobEvent>(event)),
              kTable.at(event).at(state))
        << "event " << event << " in state " << to_string(static_cast<JobState>(state));
}

INSTANTIATE_TEST_SUITE_P(AllEvents, TransitionTable,
                         ::testing::Range(0, static_cast<int>(kJobEventCount)));

TEST(Transition, OnlyARedriveLeavesAFinalState) {
  for (std::size_t state = 0; state < kJobStateCount; ++state) {
    if (!is_final(static_cast<JobState>(state))) continue;
    for (std::size_t event = 0; event < kJobEventCount; ++event) {
      if (static_cast<JobEvent>(event) == JobEvent::redrive) continue;
      EXPECT_FALSE(next_state(static_cast<JobState>(state), static_cast<JobEvent>(event)));
    }
  }
}

}  // namespace
}  // namespace millrace::broker

// What is encoded is decoded to the same; what a newer peer adds is ignored.

#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "common/protocol/codec.h"
#include "tests/unit/protocol/message_tools.h"

namespace millrace::protocol {
namespace {

std::string after_round_trip(const Message& message) {
  const auto decoded = decode(encode({7, message}));
  return decoded ? describe(decoded->message) : decoded.error().error.message;
}

TEST(CodecRoundTrip, EveryMessageWithEveryFieldSetComesBack) {
  for (const Message& message : full_messages())
    EXPECT_EQ(after_round_trip(message), describe(message));
}

TEST(CodecRoundTrip, EveryMessageAtItsDefaultsComesBack) {
  for (const Message& message : default_messages())
    EXPECT_EQ(after_round_trip(message), describe(message));
}

TEST(CodecRoundTrip, TheFillerSetsEveryField) {
  const auto defaults = default_messages();
  const auto full = full_messages();
  for (std::size_t i = 0; i < full.size(); ++i) {
    if (describe(defaults[i]).find('=') == std::string::npos) continue;  // no fields at all
    EXPECT_NE(describe(full[i]), describe(defaults[i]));
  }
}

TEST(CodecRoundTrip, DefaultsAreLeftOut) {
  for (const Message& message : default_messages()) {
    const std::string frame = encode({7, message});
    EXPECT_EQ(to_hex(frame.substr(frame.size() - 1)), "80") << type_name(message);
    EXPECT_EQ(frame.size(), 5U) << type_name(message);
  }
}

TEST(CodecRoundTrip, TypeNumbersAreDifferentAndSmall) {
  std::set<int> numbers;
  for (const Message& message : default_messages()) {
    const int number = std::visit([](const auto& m) { return m.kType; }, message);
    EXPECT_TRUE(numbers.insert(number).second) << type_name(message);
    EXPECT_GT(number, 0);
    EXPECT_LT(number, 128);
  }
}

TEST(CodecRoundTrip, TypeNamesAreDifferent) {
  std::set<std::string_view> names;
  for (const Message& message : default_messages())
    EXPECT_TRUE(names.insert(type_name(message)).second) << type_name(message);
}

TEST(CodecRoundTrip, TheCorrelationIsKept) {
  for (const std::uint64_t correlation : {std::uint64_t{0}, std::uint64_t{1}, UINT64_MAX}) {
    const auto decoded = decode(encode({correlation, Bye{}}));
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(decoded->correlation, correlation);
  }
}

TEST(CodecRoundTrip, IntegersKeepTheirExtremes) {
  Outcome outcome;
  outcome.delay = Duration{std::numeric_limits<std::int64_t>::min()};
  outcome.elapsed = Duration{std::numeric_limits<std::int64_t>::max()};
  outcome.lease = LeaseId{static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())};
  const Message nack = Nack{{outcome}};
  EXPECT_EQ(after_round_trip(nack), describe(nack));

  NewJob job;
  job.priority = std::numeric_limits<int>::min();
  job.max_attempts = std::numeric_limits<int>::max();
  Enqueue enqueue;
  enqueue.request = {UINT64_MAX, UINT64_MAX};
  enqueue.jobs = {job};
  EXPECT_EQ(after_round_trip(enqueue), describe(enqueue));

  Heartbeat heartbeat;
  heartbeat.held_hash = UINT64_MAX;
  EXPECT_EQ(after_round_trip(heartbeat), describe(heartbeat));
}

TEST(CodecRoundTrip, PayloadsKeepTheirForm) {
  for (const Payload& payload :
       {Payload{}, Payload::text(""), Payload::binary(""), Payload::text("null"),
        Payload::binary(std::string(70'000, '\0')), Payload::text("\xff not UTF-8")}) {
    NewJob job;
    job.payload = payload;
    Enqueue enqueue;
    enqueue.jobs = {job};
    const auto decoded = decode(encode({1, enqueue}));
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(std::get<Enqueue>(decoded->message).jobs.at(0).payload, payload);
  }
}

TEST(CodecRoundTrip, EveryWordComesBack) {
  for (int i = 0; i < 8; ++i) {
    ResultRow row;
    row.state = static_cast<JobState>(i);
    Results results;
    results.rows = {row};
    EXPECT_EQ(after_round_trip(results), describe(results));
  }
  for (int i = 0; i < 6; ++i) {
    const Settled settled{{LeaseId{1}}, {static_cast<ItemStatus>(i)}};
    EXPECT_EQ(after_round_trip(settled), describe(settled));
  }
}

TEST(CodecRoundTrip, AnItemAtItsDefaultKeepsItsPlace) {
  const Settled settled{{LeaseId{}, LeaseId{2}}, {ItemStatus::ok, ItemStatus::stale}};
  EXPECT_EQ(after_round_trip(settled), describe(settled));
}

// ---- what a newer peer adds
// ----------------------------------------------------------------------

// {"later": [1, {"x": nil}], "queue": "a"}
constexpr const char* kUnknownFirst =
    "9401330782a56c617465729201"
    "81a178c0"
    "a57175657565a161";
// {"queue": "a", 5: 6, "later": 1.5}
constexpr const char* kUnknownLast = "9401330783a57175657565a1610506a56c61746572cb3ff8000000000000";

TEST(CodecNewer, UnknownKeysAreIgnored) {
  for (const char* hex : {kUnknownFirst, kUnknownLast}) {
    const auto decoded = decode(from_hex(hex));
    ASSERT_TRUE(decoded.has_value()) << decoded.error().error.message;
    EXPECT_EQ(std::get<Open>(decoded->message).queue, "a");
  }
}

TEST(CodecNewer, KeysMayComeInAnyOrder) {
  // {"generation": 3, "wait": true, "queue": "q"}
  const auto decoded =
      decode(from_hex("9401320783aa67656e65726174696f6e03a477616974c3a57175657565a171"));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().error.message;
  EXPECT_EQ(describe(decoded->message), describe(Close{"q", true, 3}));
}

}  // namespace
}  // namespace millrace::protocol

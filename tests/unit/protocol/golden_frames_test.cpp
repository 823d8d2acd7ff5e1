// Frames as they were when their message was first released. A line of golden_frames.txt is never
// changed: it must be read for ever, and written again as the same bytes. Who adds a field adds a
// line (NAME.full.2 …) with the new frame; the failing test prints it.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "common/protocol/codec.h"
#include "tests/unit/protocol/message_tools.h"

namespace millrace::protocol {
namespace {

constexpr std::uint64_t kCorrelation = 7;

std::map<std::string, std::string> golden_frames() {
  const char* root = std::getenv("MILLRACE_SOURCE_DIR");
  std::ifstream file(std::string(root == nullptr ? "." : root) +
                     "/tests/unit/protocol/golden_frames.txt");
  EXPECT_TRUE(file) << "run it by ctest, or from the root of the repository";
  std::map<std::string, std::string> frames;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    std::istringstream words(line);
    std::string name;
    std::string hex;
    words >> name >> hex;
    EXPECT_TRUE(frames.emplace(name, hex).second) << name << " is there twice";
  }
  return frames;
}

TEST(GoldenFrames, OldFramesAreReadAndWrittenAsTheSameBytes) {
  for (const auto& [name, hex] : golden_frames()) {
    const auto decoded = decode(from_hex(hex));
    ASSERT_TRUE(decoded.has_value()) << name << ": " << decoded.error().error.message;
    EXPECT_EQ(decoded->correlation, kCorrelation) << name;
    EXPECT_TRUE(name.starts_with(std::string(type_name(decoded->message)) + ".")) << name;
    EXPECT_EQ(to_hex(encode(*decoded)), hex) << name;
  }
}

TEST(GoldenFrames, EveryMessageOfTodayIsThere) {
  std::set<std::string> known;
  for (const auto& [name, hex] : golden_frames()) known.insert(hex);
  const auto expect_known = [&](const Message& message, const char* form) {
    const std::string hex = to_hex(encode({kCorrelation, message}));
    EXPECT_TRUE(known.contains(hex)) << "add this line:\n" << type_name(message) << form << hex;
  };
  for (const Message& message : default_messages()) expect_known(message, ".default ");
  for (const Message& message : full_messages()) expect_known(message, ".full ");
}

TEST(GoldenFrames, AFrameIsWhatThePageSays) {
  Enqueue enqueue;
  enqueue.request = {1, 2};
  NewJob job;
  job.kind = "echo";
  job.payload = Payload::text("1");
  enqueue.jobs = {job};

  // [1, 10, 7, {"request": bin(16), "jobs": [{"kind": "echo", "payload": "1"}]}]
  EXPECT_EQ(to_hex(encode({7, enqueue})),
            "94010a0782"
            "a772657175657374c41000000000000000010000000000000002"
            "a46a6f62739182"
            "a46b696e64a46563686f"
            "a77061796c6f6164a131");
}

}  // namespace
}  // namespace millrace::protocol

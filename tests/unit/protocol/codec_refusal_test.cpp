// Bytes that are no message: refused with the right word, never a crash, never much memory.

#include <gtest/gtest.h>

#include "common/protocol/codec.h"
#include "tests/support/test_random.h"
#include "tests/unit/protocol/message_tools.h"

namespace millrace::protocol {
namespace {

using namespace std::string_literals;

std::string word_for(const std::string& frame) {
  const auto decoded = decode(frame);
  return decoded ? "" : std::string(to_string(decoded.error().error.code));
}

/// A map with one entry.
std::string body(std::string_view key, const std::string& value) {
  return "\x81"s + static_cast<char>(0xa0 + key.size()) + std::string(key) + value;
}

/// [1, type, 7, body]
std::string frame(int type, const std::string& body) {
  return "\x94\x01"s + static_cast<char>(type) + "\x07" + body;
}

std::string nested_arrays(std::size_t depth) { return std::string(depth, '\x91') + "\xc0"; }

struct Refusal {
  const char* name;
  std::string frame;
  const char* word;
  std::uint64_t correlation;
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

class CodecRefusal : public ::testing::TestWithParam<Refusal> {};

TEST_P(CodecRefusal, HasItsWordAndCorrelation) {
  const auto decoded = decode(GetParam().frame);

  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(to_string(decoded.error().error.code), GetParam().word);
  EXPECT_EQ(decoded.error().correlation, GetParam().correlation);
  EXPECT_FALSE(decoded.error().error.message.empty());
}

const Refusal kEnvelopes[] = {
    {"Empty", "", "bad_format", 0},
    {"Nil", "\xc0", "bad_format", 0},
    {"Map", "\x80", "bad_format", 0},
    {"EmptyArray", "\x90", "bad_format", 0},
    {"ThreeParts", "\x93\x01\x04\x07", "bad_format", 0},
    {"LaterVersion", "\x94\x02\x04\x07\x80", "unsupported_version", 7},
    {"VersionZero", "\x94\x00\x04\x07\x80"s, "unsupported_version", 7},
    {"VersionText", "\x94\xa1\x31\x04\x07\x80", "bad_format", 0},
    {"TypeNegative", "\x94\x01\xff\x07\x80", "bad_format", 0},
    {"TypeUnknown", "\x94\x01\x7f\x07\x80", "unknown_type", 7},
    {"TypeZero", "\x94\x01\x00\x07\x80"s, "unknown_type", 7},
    {"TypeHuge", "\x94\x01\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x07\x80", "unknown_type", 7},
    {"TypeAnother32BitsUp", "\x94\x01\xcf\x00\x00\x00\x01\x00\x00\x00\x04\x07\x80"s, "unknown_type",
     7},
    {"UnknownTypeWithAnotherBody", "\x94\x01\x7f\x07\xc0", "unknown_type", 7},
    {"CorrelationNegative", "\x94\x01\x04\xff\x80", "bad_format", 0},
    {"CorrelationText", "\x94\x01\x04\xa1\x31\x80", "bad_format", 0},
    {"BodyNil", "\x94\x01\x04\x07\xc0", "bad_format", 7},
    {"BodyArray", "\x94\x01\x04\x07\x90", "bad_format", 7},
    {"TrailingByte", "\x94\x01\x04\x07\x80\x00"s, "bad_format", 0},
    {"TwoMessages", "\x94\x01\x04\x07\x80\x94\x01\x04\x07\x80", "bad_format", 0},
    {"ReservedByte", "\xc1", "bad_format", 0},
};

const Refusal kFields[] = {
    {"TextIsInteger", frame(51, body("queue", "\x05")), "bad_format", 7},
    {"TextIsBin", frame(51, body("queue", "\xc4\x01x")), "bad_format", 7},
    {"TextIsNil", frame(51, body("queue", "\xc0")), "bad_format", 7},
    {"BoolIsInteger", frame(50, body("wait", "\x01")), "bad_format", 7},
    {"IntegerIsText", frame(1, body("pid", "\xa1\x31")), "bad_format", 7},
    {"IntegerIsFloat", frame(1, body("pid", "\xca\x3f\x80\x00\x00"s)), "bad_format", 7},
    {"IntegerIsBool", frame(1, body("pid", "\xc3")), "bad_format", 7},
    {"IntTooLarge", frame(1, body("version_max", "\xce\x80\x00\x00\x00"s)), "bad_format", 7},
    {"IntTooSmall", frame(1, body("version_max", "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff")),
     "bad_format", 7},
    {"LongTooLarge", frame(1, body("pid", "\xcf\x80\x00\x00\x00\x00\x00\x00\x00"s)), "bad_format",
     7},
    {"UnsignedNegative", frame(50, body("generation", "\xff")), "bad_format", 7},
    {"IdNegative", frame(42, body("batch", "\xff")), "bad_format", 7},
    {"IdAboveSigned", frame(42, body("batch", "\xcf\x80\x00\x00\x00\x00\x00\x00\x00"s)),
     "bad_format", 7},
    {"TimeTooLarge", frame(2, body("now", "\xcf\x80\x00\x00\x00\x00\x00\x00\x00"s)), "bad_format",
     7},
    {"DurationIsText", frame(3, body("after_ms", "\xa1s")), "bad_format", 7},
    {"UnknownWord", frame(1, body("role", "\xa4king")), "bad_format", 7},
    {"WordIsInteger", frame(1, body("role", "\x01")), "bad_format", 7},
    {"SessionIsText", frame(1, body("session", "\xa1x")), "bad_format", 7},
    {"RequestTooShort", frame(10, body("request", "\xc4\x0f"s + std::string(15, 'x'))),
     "bad_format", 7},
    {"RequestTooLong", frame(10, body("request", "\xc4\x11"s + std::string(17, 'x'))), "bad_format",
     7},
    {"RequestIsText", frame(10, body("request", "\xb0"s + std::string(16, 'x'))), "bad_format", 7},
    {"ArrayIsMap", frame(10, body("jobs", "\x80")), "bad_format", 7},
    {"ArrayIsNil", frame(10, body("jobs", "\xc0")), "bad_format", 7},
    {"ItemIsInteger", frame(10, body("jobs", "\x91\x05")), "bad_format", 7},
    {"PayloadIsInteger", frame(10, body("jobs", "\x91"s + body("payload", "\x05"))), "bad_format",
     7},
    {"PayloadIsMap", frame(10, body("jobs", "\x91"s + body("payload", "\x80"))), "bad_format", 7},
    {"MapIsArray", frame(21, body("upto", "\x90")), "bad_format", 7},
    {"MapKeyIsInteger", frame(21, body("upto", "\x81\x01\x02")), "bad_format", 7},
    {"MapValueNegative", frame(21, body("upto", "\x81\xa1p\xff")), "bad_format", 7},
    {"LeaseIsText", frame(23, body("leases", "\x91\xa1x")), "bad_format", 7},
    {"StatusUnknown", frame(28, body("statuses", "\x91\xa3odd")), "bad_format", 7},
};

const Refusal kBounds[] = {
    {"ArrayOf4097", frame(23, body("leases", "\xdc\x10\x01"s + std::string(4097, '\x01'))),
     "bad_format", 0},
    {"MapOf4097", frame(21, body("upto", "\xde\x10\x01"s + std::string(8194, '\x01'))),
     "bad_format", 0},
    {"ArrayHeaderHuge", "\xdd\xff\xff\xff\xff", "bad_format", 0},
    {"MapHeaderHuge", "\xdf\xff\xff\xff\xff", "bad_format", 0},
    {"StrHeaderHuge", "\xdb\xff\xff\xff\xff", "bad_format", 0},
    {"BinHeaderHuge", "\xc6\xff\xff\xff\xff", "bad_format", 0},
    {"ExtHeaderHuge", "\xc9\xff\xff\xff\xff\x01", "bad_format", 0},
    {"PayloadIsExt", frame(10, body("jobs", "\x91"s + body("payload", "\xd4\x01\x02"))),
     "bad_format", 0},
    {"ManyHugeHeaders", frame(23, body("leases", std::string(1000, '\xdd'))), "bad_format", 0},
    {"TooDeep", frame(51, body("later", nested_arrays(20))), "bad_format", 0},
    {"FarTooDeep", frame(51, body("later", nested_arrays(1'000'000))), "bad_format", 0},
    {"OnlyDepth", std::string(1'000'000, '\x91'), "bad_format", 0},
    {"FrameTooLarge",
     frame(51, body("later", "\xc6\x00\x40\x00\x00"s + std::string(kFrameBytesMax, 'x'))),
     "bad_format", 0},
};

const auto kName = [](const auto& test) { return std::string(test.param.name); };
INSTANTIATE_TEST_SUITE_P(Envelope, CodecRefusal, ::testing::ValuesIn(kEnvelopes), kName);
INSTANTIATE_TEST_SUITE_P(Field, CodecRefusal, ::testing::ValuesIn(kFields), kName);
INSTANTIATE_TEST_SUITE_P(Bound, CodecRefusal, ::testing::ValuesIn(kBounds), kName);

TEST(CodecBound, AnArrayOfTheLimitIsRead) {
  const auto decoded =
      decode(frame(23, body("leases", "\xdc\x10\x00"s + std::string(4096, '\x01'))));

  ASSERT_TRUE(decoded.has_value()) << decoded.error().error.message;
  EXPECT_EQ(std::get<Started>(decoded->message).leases.size(), kArrayItemsMax);
}

TEST(CodecBound, AFrameOfTheLimitIsRead) {
  const std::string head = frame(51, body("later", "\xc6"));
  const std::size_t rest = kFrameBytesMax - head.size() - 4;
  std::string size;
  for (int shift = 24; shift >= 0; shift -= 8) size += static_cast<char>(rest >> shift);

  EXPECT_EQ(word_for(head + size + std::string(rest, 'x')), "");
}

TEST(CodecBound, SomeDepthIsAllowed) {
  EXPECT_EQ(word_for(frame(51, body("later", nested_arrays(10)))), "");
}

TEST(CodecBound, TheRefusalSaysWhere) {
  const auto decoded = decode(frame(10, body("jobs", "\x92\x80"s + body("priority", "\xa1x"))));

  ASSERT_FALSE(decoded.has_value());
  EXPECT_NE(decoded.error().error.message.find("jobs[1].priority"), std::string::npos)
      << decoded.error().error.message;
}

TEST(CodecFuzz, AFrameCutAtAnyByteIsRefused) {
  for (const Message& message : full_messages()) {
    const std::string whole = encode({7, message});
    for (std::size_t size = 0; size < whole.size(); ++size)
      EXPECT_EQ(word_for(whole.substr(0, size)), "bad_format") << type_name(message) << size;
  }
}

/// Whatever could be read can be written and read again.
void decode_and_check(const std::string& bytes) {
  const auto decoded = decode(bytes);
  if (!decoded) return;
  const auto again = decode(encode(*decoded));
  ASSERT_TRUE(again.has_value()) << to_hex(bytes);
  EXPECT_EQ(describe(again->message), describe(decoded->message)) << to_hex(bytes);
}

TEST(CodecFuzz, RandomBytesNeverCrash) {
  for (const std::uint64_t seed : test_seeds(1)) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    TestRandom random(seed);
    for (int i = 0; i < 20'000; ++i) {
      std::string bytes(random.below(64), '\0');
      for (char& byte : bytes) byte = static_cast<char>(random.below(256));
      if (random.chance(50)) bytes = frame(static_cast<int>(random.below(80)), bytes);
      decode_and_check(bytes);
    }
  }
}

TEST(CodecFuzz, GoodFramesWithWrongBytesNeverCrash) {
  const auto messages = full_messages();
  for (const std::uint64_t seed : test_seeds(1)) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    TestRandom random(seed);
    for (int i = 0; i < 10'000; ++i) {
      std::string bytes = encode({7, messages[random.below(messages.size())]});
      for (std::uint64_t n = 1 + random.below(3); n > 0; --n)
        bytes[random.below(bytes.size())] = static_cast<char>(random.below(256));
      decode_and_check(bytes);
    }
  }
}

}  // namespace
}  // namespace millrace::protocol

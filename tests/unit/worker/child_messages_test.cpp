#include "worker/process/child_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "common/util/base64.h"
#include "tests/support/test_random.h"

namespace millrace::worker {
namespace {

using testing::HasSubstr;

Job job() {
  Job made;
  made.id = JobId{7};
  made.lease = LeaseId{1'099'511'627'777};
  made.kind = "shout";
  made.queue = "default";
  made.max_attempts = 3;
  made.payload = Payload::text("{\"text\":\n\"hello\"}");
  return made;
}

FromChild decoded(std::string_view body, ChildForm form) {
  auto message = decode_from_child(body, form);
  EXPECT_TRUE(message) << message.error().message;
  return message ? std::move(*message) : FromChild{};
}

std::string only_body(const std::string& frame, ChildForm form) {
  ChildStream stream(form);
  stream.append(frame);
  const auto body = stream.next();
  return body && *body ? std::string(**body) : std::string("none");
}

TEST(ChildMessages, AJobIsOneLineOfJson) {
  const Job made = job();

  EXPECT_EQ(
      encode({.type = ToChild::Type::job, .lease = made.lease, .job = &made}, ChildForm::json),
      R"({"type":"job","lease":1099511627777,"job":7,"kind":"shout","queue":"default",)"
      R"("attempt":1,"max_attempts":3,"deliveries":1,"timeout_ms":0,)"
      R"("payload":{"text": "hello"}})"
      "\n");
}

TEST(ChildMessages, OtherTextAndBytesHaveKeysOfTheirOwnInJson) {
  Job made = job();
  made.payload = Payload::text("no json");
  const ToChild message{.type = ToChild::Type::job, .lease = made.lease, .job = &made};
  EXPECT_THAT(encode(message, ChildForm::json), HasSubstr(R"("payload_text":"no json"})"));

  made.payload = Payload::binary(std::string("\0\xff", 2));
  EXPECT_THAT(encode(message, ChildForm::json), HasSubstr(R"("payload_base64":"AP8="})"));
}

TEST(ChildMessages, AJobComesThroughMsgpackAsItWas) {
  Job made = job();
  made.timeout = Duration{250};
  made.attempt = 2;
  for (const Payload& payload :
       {Payload{}, Payload::text("\"x\""), Payload::binary(std::string("\0\xff", 2))}) {
    made.payload = payload;
    const std::string frame =
        encode({.type = ToChild::Type::job, .lease = made.lease, .job = &made}, ChildForm::msgpack);

    const auto message = decode_to_child(only_body(frame, ChildForm::msgpack));

    ASSERT_TRUE(message);
    EXPECT_EQ(message->job.payload, payload);
    EXPECT_EQ(message->job.id, made.id);
    EXPECT_EQ(message->job.lease, made.lease);
    EXPECT_EQ(message->job.attempt, 2);
    EXPECT_EQ(message->job.timeout, made.timeout);
  }
}

TEST(ChildMessages, TheGoldenReadyIsRead) {
  const std::string frame("\x00\x00\x00\x16\x82\xa4type\xa5ready\xa8protocol\x01", 4 + 22);

  const FromChild message = decoded(only_body(frame, ChildForm::msgpack), ChildForm::msgpack);

  EXPECT_EQ(message.type, FromChild::Type::ready);
  EXPECT_EQ(message.protocol, 1);
}

TEST(ChildMessages, AResultIsAnyValueOfJson) {
  EXPECT_EQ(decoded(R"({"type":"result","lease":1,"result":{"a":[1,2.5]}})", ChildForm::json).data,
            Payload::text(R"({"a":[1,2.5]})"));
  EXPECT_EQ(decoded(R"({"type":"result","lease":1,"result":null})", ChildForm::json).data,
            Payload::text("null"));
  EXPECT_EQ(decoded(R"({"type":"result","lease":1,"result_text":"plain"})", ChildForm::json).data,
            Payload::text("plain"));
  EXPECT_EQ(decoded(R"({"type":"result","lease":1,"result_base64":"AP8="})", ChildForm::json).data,
            Payload::binary(std::string("\0\xff", 2)));
  EXPECT_EQ(decoded(R"({"type":"result","lease":1})", ChildForm::json).data, Payload{});
}

TEST(ChildMessages, WhatOurChildrenSayIsRead) {
  FromChild error{.type = FromChild::Type::error, .lease = LeaseId{5}, .text = "refused: no"};
  error.retry = false;
  error.delay = Duration{30};

  const FromChild message =
      decoded(only_body(encode(error), ChildForm::msgpack), ChildForm::msgpack);

  EXPECT_EQ(message.lease, LeaseId{5});
  EXPECT_EQ(message.text, "refused: no");
  EXPECT_FALSE(message.retry);
  EXPECT_EQ(message.delay, Duration{30});
}

TEST(ChildMessages, WhatIsWrongIsSaid) {
  const auto error = [](std::string_view body) {
    const auto message = decode_from_child(body, ChildForm::json);
    return message ? "nothing" : message.error().message;
  };
  EXPECT_THAT(error("nonsense"), HasSubstr("a line is no JSON: nonsense"));
  EXPECT_EQ(error("[1]"), "a message is no object");
  EXPECT_EQ(error("{}"), "a message has no type");
  EXPECT_EQ(error(R"({"type":"shout"})"), "there is no message of type `shout`");
  EXPECT_EQ(error(R"({"type":"result"})"), "a message names no lease");
  EXPECT_EQ(error(R"({"type":"error","lease":1,"error":2})"), "error is no text");
  EXPECT_EQ(error(R"({"type":"result","lease":1,"result_base64":"?"})"),
            "result_base64 is no base64");
}

TEST(ChildMessages, NoBytesOfAProgramAreTrusted) {
  const std::uint64_t seed = test_seeds(1).front();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(random() % 64, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (random() % 2 == 0) bytes.insert(0, "{\"type\":\"result\",\"lease\":");
    static_cast<void>(decode_from_child(bytes, ChildForm::json));
    static_cast<void>(decode_from_child(bytes, ChildForm::msgpack));
    static_cast<void>(decode_to_child(bytes));
    ChildStream stream;
    stream.append(bytes);
    while (true) {
      const auto body = stream.next();
      if (!body || !*body) break;
    }
  }
}

TEST(ChildStream, MessagesComeOutHoweverTheyAreCut) {
  for (const ChildForm form : {ChildForm::json, ChildForm::msgpack}) {
    std::string bytes;
    for (std::uint64_t i = 1; i <= 50; ++i)
      bytes += encode({.type = ToChild::Type::cancel, .lease = LeaseId{i}}, form);
    for (std::size_t step = 1; step < 40; ++step) {
      ChildStream stream;
      int count = 0;
      for (std::size_t at = 0; at < bytes.size(); at += step) {
        stream.append(std::string_view(bytes).substr(at, step));
        while (true) {
          const auto body = stream.next();
          ASSERT_TRUE(body);
          if (!*body) break;
          ++count;
        }
      }
      EXPECT_EQ(count, 50);
      EXPECT_EQ(stream.form(), form);
    }
  }
}

TEST(ChildStream, AMessageThatIsTooLongIsRefusedBeforeItIsThere) {
  ChildStream stream(ChildForm::msgpack);
  stream.append("\x7f\xff\xff\xff");
  EXPECT_FALSE(stream.next());
}

TEST(Base64, GoesThereAndBack) {
  for (const std::string bytes : {"", "f", "fo", "foo", "foob", "fooba", "foobar"})
    EXPECT_EQ(from_base64(base64(bytes)), bytes);
  EXPECT_EQ(base64("foob"), "Zm9vYg==");
  for (const char* wrong : {"Zg", "Z===", "Zg=a", "Zg==Zg==", "Z g=", "===="})
    EXPECT_EQ(from_base64(wrong), std::nullopt) << wrong;
}

}  // namespace
}  // namespace millrace::worker

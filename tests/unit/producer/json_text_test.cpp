#include "producer/json_text.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace millrace::producer {
namespace {

TEST(JsonText, EscapesStrings) {
  EXPECT_EQ(json_string("plain"), "\"plain\"");
  EXPECT_EQ(json_string("a\"b\\c\n\r\t"), R"("a\"b\\c\n\r\t")");
  EXPECT_EQ(json_string(std::string_view("\0\x1b\x7f", 3)), R"("\u0000\u001b\u007f")");
  EXPECT_EQ(json_string("ä€😀"), "\"ä€😀\"");
}

TEST(JsonText, ReplacesWhatIsNoUtf8) {
  for (const char* bad : {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    const std::string json = json_string(bad);
    EXPECT_TRUE(nlohmann::json::accept(json)) << json;
    EXPECT_THAT(json, testing::HasSubstr("\xEF\xBF\xBD"));
  }
}

TEST(JsonText, PayloadIsItsValueWhereItIsJson) {
  EXPECT_EQ(payload_json(Payload{}), "null");
  EXPECT_EQ(payload_json(Payload::text("null")), "null");
  EXPECT_EQ(payload_json(Payload::text("{\n \"a\" : [ 1, \"x \\\" y\" ]\n}")),
            R"({"a":[1,"x \" y"]})");
  EXPECT_EQ(payload_json(Payload::text("18446744073709551615")), "18446744073709551615");
  EXPECT_EQ(payload_json(Payload::text("1.10")), "1.10");
}

TEST(JsonText, PayloadIsAStringWhereItIsOtherText) {
  EXPECT_EQ(payload_json(Payload::text("")), R"("")");
  EXPECT_EQ(payload_json(Payload::text("hello \"you\"")), R"("hello \"you\"")");
  EXPECT_EQ(payload_json(Payload::text("{bad")), R"("{bad")");
  EXPECT_EQ(payload_json(Payload::text("NaN")), R"("NaN")");
}

TEST(JsonText, PayloadIsBase64WhereItIsBytes) {
  EXPECT_EQ(payload_json(Payload::binary("")), R"({"base64":""})");
  EXPECT_EQ(payload_json(Payload::binary("f")), R"({"base64":"Zg=="})");
  EXPECT_EQ(payload_json(Payload::binary("fo")), R"({"base64":"Zm8="})");
  EXPECT_EQ(payload_json(Payload::binary("foo")), R"({"base64":"Zm9v"})");
  EXPECT_EQ(payload_json(Payload::binary(std::string("\xff\x00\xfe", 3))), R"({"base64":"/wD+"})");
  EXPECT_EQ(payload_json(Payload::binary("{}")), R"({"base64":"e30="})");
}

TEST(JsonText, ResultRowHasTheDocumentedKeys) {
  protocol::ResultRow row;
  row.job = JobId{7};
  row.kind = "echo";
  row.result = Payload::text("[1]");
  row.attempts = 2;
  row.cursor = FinishSeq{9};
  EXPECT_EQ(
      to_json(row),
      R"({"job":7,"kind":"echo","state":"done","result":[1],"error":null,"attempts":2,"cursor":9})");
  row.state = JobState::dead;
  row.result = {};
  row.error = "refused: no";
  EXPECT_THAT(to_json(row), testing::HasSubstr(R"("state":"dead","result":null,"error":"refused)"));
}

TEST(JsonText, QueueRowHasTheDocumentedKeys) {
  protocol::QueueInfo queue;
  queue.queue = "mail";
  queue.state = protocol::QueueState::closed;
  queue.counts = {0, 1, 2, 3, 4, 5, 6, 7};
  queue.workers = 8;
  EXPECT_EQ(to_json(queue),
            R"({"queue":"mail","state":"closed","paused":false,"generation":1,"blocked":0,)"
            R"("scheduled":1,"ready":2,"leased":3,"done":4,"dead":5,"cancelled":6,"expired":7,)"
            R"("workers":8})");
}

TEST(JsonText, MessagesAreJsonWithTimesAndNulls) {
  protocol::JobInfo job;
  job.job = JobId{1};
  job.enqueued_at = Time{Duration{1500}};
  const auto parsed = nlohmann::json::parse(to_json(job));
  EXPECT_EQ(parsed["enqueued_at"], "1970-01-01T00:00:01.500Z");
  EXPECT_TRUE(parsed["finished_at"].is_null());
  EXPECT_TRUE(parsed["replay_of"].is_null());
  protocol::Report report;
  report.workers.resize(1);
  report.workers[0].queues = {"a\"b"};
  report.workers[0].pools = {{"cpu", 2}};
  const auto nested = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(nested["workers"][0]["queues"][0], "a\"b");
  EXPECT_EQ(nested["workers"][0]["pools"]["cpu"], 2);
}

TEST(JsonText, ListsIds) {
  EXPECT_EQ(json_id_range(JobId{5}, 3), "[5,6,7]");
  EXPECT_EQ(json_id_range(JobId{5}, 0), "[]");
  const std::vector<JobId> ids{JobId{3}, JobId{1}};
  EXPECT_EQ(json_ids(ids), "[3,1]");
}

TEST(JsonRows, AnOutputIsJsonWhereItIsJson) {
  protocol::OutputRow row{
      .cursor = OutputSeq{9}, .attempt = 2, .type = OutputType::progress, .data = {}, .at = {}};
  row.data = Payload::text(R"({"done": 1, "total": 2})");
  EXPECT_EQ(to_json(JobId{7}, row),
            R"({"job":7,"cursor":9,"attempt":2,"type":"progress","data":{"done":1,"total":2},)"
            R"("at":"1970-01-01T00:00:00.000Z"})");
  row.type = OutputType::chunk;
  row.data = Payload::binary("\x01");
  EXPECT_THAT(to_json(JobId{7}, row), testing::HasSubstr(R"("data":{"base64":"AQ=="})"));
}

TEST(JsonRows, ALogLineIsTextEvenIfItLooksLikeANumber) {
  protocol::OutputRow row{.cursor = OutputSeq{9}, .data = Payload::text("42"), .at = {}};
  EXPECT_THAT(to_json(JobId{7}, row), testing::HasSubstr(R"("type":"log","data":"42")"));
}

TEST(JsonRows, WhatNobodySaidOfAKindIsNull) {
  protocol::KindInfo kind{.kind = "mail", .options = {}, .by_operator = true};
  EXPECT_EQ(to_json(kind),
            R"({"kind":"mail","max_attempts":null,"crashes_max":null,"timeout_ms":null,)"
            R"("retry":null,"not_replayable":false,"by_operator":true})");
  kind.options.max_attempts = 5;
  kind.options.retry = "linear:5s";
  EXPECT_THAT(to_json(kind), testing::HasSubstr(R"("max_attempts":5)"));
  EXPECT_THAT(to_json(kind), testing::HasSubstr(R"("retry":"linear:5s")"));
}

TEST(ProgressText, SaysHowFarItIs) {
  EXPECT_EQ(progress_text(Payload::text(R"({"done":3,"total":10,"text":"copying"})")),
            "3 of 10 (30 %) copying");
  EXPECT_EQ(progress_text(Payload::text(R"({"done":3})")), "3");
  EXPECT_EQ(progress_text(Payload::text(R"({"text":"copying"})")), "copying");
  EXPECT_EQ(progress_text(Payload::text(R"({"done":3,"total":0})")), "3");
}

TEST(ProgressText, WhatIsNoProgressStaysAsItIs) {
  EXPECT_EQ(progress_text({}), "");
  EXPECT_EQ(progress_text(Payload::text("half")), "half");
  EXPECT_EQ(progress_text(Payload::text("[1]")), "[1]");
}

}  // namespace
}  // namespace millrace::producer

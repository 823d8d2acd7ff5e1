#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "worker/handlers/builtin.h"

namespace millrace::worker {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

Job job(Payload payload, int attempt = 1) {
  Job made;
  made.id = JobId{1};
  made.payload = std::move(payload);
  made.attempt = attempt;
  return made;
}

Outcome run(Outcome (*handler)(JobContext&), const Job& with, std::stop_token stop = {}) {
  JobContext context(with, std::move(stop));
  return handler(context);
}

/// Remembers the progress.
class Listener final : public JobContext {
 public:
  using JobContext::JobContext;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> told;

 protected:
  void put_progress(std::uint64_t done, std::uint64_t total, std::string_view /*text*/) override {
    told.emplace_back(done, total);
  }
};

Outcome run(Outcome (*handler)(JobContext&), const char* payload) {
  return run(handler, job(Payload::text(payload)));
}

std::stop_token stopped() {
  std::stop_source source;
  source.request_stop();
  return source.get_token();
}

json result(const Outcome& outcome) {
  EXPECT_EQ(outcome.verdict, Outcome::Verdict::ack) << outcome.error;
  EXPECT_EQ(outcome.result.form, Payload::Form::text);
  return json::parse(outcome.result.bytes);
}

void expect_bad_payload(const Outcome& outcome, const char* what) {
  EXPECT_EQ(outcome.verdict, Outcome::Verdict::reject);
  EXPECT_THAT(outcome.error, StartsWith("bad_payload: "));
  EXPECT_THAT(outcome.error, HasSubstr(what));
}

TEST(HandlerSleep, SleepsAndTells) {
  EXPECT_GE(result(run(run_sleep, R"({"ms": 15})"))["slept_ms"], 15);
}

TEST(HandlerSleep, EndsAtOnceWhenAskedToStop) {
  const Outcome outcome = run(run_sleep, job(Payload::text(R"({"ms": 60000})")), stopped());
  EXPECT_EQ(outcome.verdict, Outcome::Verdict::nack);
}

TEST(HandlerSleep, RefusesBadPayloads) {
  expect_bad_payload(run(run_sleep, "{}"), "`ms` is missing");
  expect_bad_payload(run(run_sleep, R"({"ms": -1})"), "ms is -1");
  expect_bad_payload(run(run_sleep, R"({"ms": 1.5})"), "ms is 1.5");
  expect_bad_payload(run(run_sleep, R"({"ms": "1"})"), "ms is \"1\"");
  expect_bad_payload(run(run_sleep, R"({"ms": 18446744073709551615})"), "must be");
  expect_bad_payload(run(run_sleep, "[1]"), "it is [1]");
  expect_bad_payload(run(run_sleep, "{"), "no JSON");
  expect_bad_payload(run(run_sleep, ""), "no JSON");
  expect_bad_payload(run(run_sleep, job(Payload::binary("abc"))), "3 opaque bytes");
}

TEST(HandlerEcho, ReturnsItsPayloadUnchanged) {
  for (const Payload& payload : {Payload{}, Payload::text(" {\"a\" : 1} "),
                                 Payload::binary(std::string("\0\xff", 2)), Payload::text("")}) {
    const Outcome outcome = run(run_echo, job(payload));
    EXPECT_EQ(outcome.verdict, Outcome::Verdict::ack);
    EXPECT_EQ(outcome.result, payload);
  }
}

TEST(HandlerFail, FailsTheFirstAttempts) {
  const Payload payload = Payload::text(R"({"times": 2, "message": "no luck"})");

  EXPECT_EQ(run(run_fail, job(payload, 1)).error, "no luck");
  EXPECT_EQ(run(run_fail, job(payload, 2)).verdict, Outcome::Verdict::nack);
  EXPECT_EQ(result(run(run_fail, job(payload, 3)))["attempts"], 3);
}

TEST(HandlerFail, FailsAlwaysUnlessToldHowOften) {
  for (const Payload& payload : {Payload{}, Payload::text("null"), Payload::text("{}")})
    EXPECT_EQ(run(run_fail, job(payload, 1000)).verdict, Outcome::Verdict::nack);
}

TEST(HandlerSum, AddsUp) {
  EXPECT_EQ(result(run(run_sum, R"({"n": 0})"))["sum"], 0);
  EXPECT_EQ(result(run(run_sum, R"({"n": 1})"))["sum"], 0);
  EXPECT_EQ(result(run(run_sum, R"({"n": 3000000})"))["sum"], 4499998500000);
}

TEST(HandlerSum, EndsWhenAskedToStop) {
  const Outcome outcome = run(run_sum, job(Payload::text(R"({"n": 4294967296})")), stopped());
  EXPECT_EQ(outcome.verdict, Outcome::Verdict::nack);
}

TEST(HandlerSum, RefusesBadPayloads) {
  expect_bad_payload(run(run_sum, job({})), "`n` is missing");
  expect_bad_payload(run(run_sum, R"({"n": 4294967297})"), "4294967296");
}

TEST(HandlerPrimes, CountsBothEndsIncluded) {
  EXPECT_EQ(result(run(run_primes, R"({"from": 1, "to": 100000})")), json({{"count", 9592}}));
  EXPECT_EQ(result(run(run_primes, R"({"from": 7, "to": 7})"))["count"], 1);
  EXPECT_EQ(result(run(run_primes, R"({"from": 0, "to": 1})"))["count"], 0);
}

TEST(HandlerPrimes, CountsTheSameOverSlices) {
  EXPECT_EQ(result(run(run_primes, R"({"from": 0, "to": 250000000})"))["count"], 13679318);
}

TEST(HandlerPrimes, TellsHowFarItIsBetweenSlices) {
  const Job with = job(Payload::text(R"({"from": 10, "to": 350000000})"));
  Listener context(with, {});

  EXPECT_EQ(run_primes(context).verdict, Outcome::Verdict::ack);

  EXPECT_THAT(context.told, ElementsAre(std::pair(150'000'000, 349'999'991),
                                        std::pair(300'000'000, 349'999'991)));
}

TEST(HandlerPrimes, AShortRangeLeavesNothingBehind) {
  const Job with = job(Payload::text(R"({"from": 0, "to": 1000000})"));
  Listener context(with, {});

  EXPECT_EQ(run_primes(context).verdict, Outcome::Verdict::ack);

  EXPECT_THAT(context.told, IsEmpty());
}

TEST(HandlerSum, TellsHowFarALongOneIs) {
  const Job with = job(Payload::text(R"({"n": 270000000})"));
  Listener context(with, {});

  EXPECT_EQ(result(run_sum(context))["sum"], 36449999865000000);

  EXPECT_THAT(context.told,
              ElementsAre(std::pair(1U << 27U, 270'000'000), std::pair(1U << 28U, 270'000'000)));
}

TEST(HandlerPrimes, Lists) {
  EXPECT_EQ(result(run(run_primes, R"({"from": 2, "to": 13, "list": true})")),
            json({{"count", 6}, {"primes", {2, 3, 5, 7, 11, 13}}}));
  EXPECT_EQ(result(run(run_primes, R"({"from": 14, "to": 16, "list": true})")),
            json({{"count", 0}, {"primes", json::array()}}));
}

TEST(HandlerPrimes, ReachesTheEndOfItsRange) {
  const auto near_end = R"({"from": 9223372036854775783, "to": 9223372036854775807, "list": true})";
  EXPECT_EQ(result(run(run_primes, near_end))["primes"], json({9223372036854775783}));
}

TEST(HandlerPrimes, RefusesAListThatFitsNoFrame) {
  const Outcome outcome = run(run_primes, R"({"from": 0, "to": 100000000, "list": true})");
  EXPECT_EQ(outcome.verdict, Outcome::Verdict::reject);
  EXPECT_THAT(outcome.error, StartsWith("result_too_large: "));
}

TEST(HandlerPrimes, EndsWhenAskedToStop) {
  for (const char* payload :
       {R"({"from": 0, "to": 1000000000000})", R"({"from": 0, "to": 1000000000000, "list": true})"})
    EXPECT_EQ(run(run_primes, job(Payload::text(payload)), stopped()).verdict,
              Outcome::Verdict::nack);
}

TEST(HandlerPrimes, RefusesBadPayloads) {
  expect_bad_payload(run(run_primes, R"({"from": 5, "to": 4})"), "to is 4");
  expect_bad_payload(run(run_primes, R"({"from": -5, "to": 4})"), "from is -5");
  expect_bad_payload(run(run_primes, R"({"from": 1})"), "`to` is missing");
  expect_bad_payload(run(run_primes, R"({"from": 1, "to": 9223372036854775808})"), "must be");
  expect_bad_payload(run(run_primes, R"({"from": 1, "to": 2, "list": "yes"})"), "list is");
}

TEST(BuiltinKinds, ThoseThatWaitMayRunOnTheLoopAndThoseThatComputeMayNot) {
  const Registry registry = builtin_kinds(NetGuard{});
  for (const char* kind : {"url.check", "sleep", "echo", "fail"})
    EXPECT_TRUE(registry.find(kind)->can_loop()) << kind;
  for (const char* kind : {"sum", "primes"}) EXPECT_FALSE(registry.find(kind)->can_loop()) << kind;
}

}  // namespace
}  // namespace millrace::worker

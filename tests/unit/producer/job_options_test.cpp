#include "producer/job_options.h"

#include <gmock/gmock.h>

namespace millrace::producer {
namespace {

using testing::HasSubstr;

std::string refusal(const JobOptions& options) {
  const auto job = make_job("echo", options);
  if (job) return "";
  EXPECT_EQ(job.error().code, ErrorCode::usage);
  return job.error().message;
}

TEST(JobOptions, WhatIsNotSaidIsLeftToTheKind) {
  const auto job = make_job("echo", {});

  ASSERT_TRUE(job);
  EXPECT_EQ(job->kind, "echo");
  EXPECT_EQ(job->priority, kPriorityDefault);
  EXPECT_EQ(job->max_attempts, 0);
  EXPECT_EQ(job->crashes_max, 0);
  EXPECT_EQ(job->timeout, Duration{});
  EXPECT_EQ(job->retry, "");
  EXPECT_EQ(job->unique_key, "");
}

TEST(JobOptions, EverythingThatIsSaidIsInTheJob) {
  JobOptions options;
  options.priority = 7;
  options.delay = Duration{1};
  options.max_attempts = 2;
  options.crashes_max = 4;
  options.retry = "linear:5s";
  options.timeout = Duration{3};
  options.expires = Duration{5};
  options.unique_key = "k";
  options.unique_scope = "queued";
  options.on_conflict = "replace";

  const auto job = make_job("echo", options);

  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->priority, 7);
  EXPECT_EQ(job->delay, Duration{1});
  EXPECT_EQ(job->max_attempts, 2);
  EXPECT_EQ(job->crashes_max, 4);
  EXPECT_EQ(job->retry, "linear:5s");
  EXPECT_EQ(job->timeout, Duration{3});
  EXPECT_EQ(job->expires_in, Duration{5});
  EXPECT_EQ(job->unique_key, "k");
  EXPECT_EQ(job->unique_scope, UniqueScope::queued);
  EXPECT_EQ(job->on_conflict, OnConflict::replace);
}

TEST(JobOptions, TimesAreTakenAsTheyAre) {
  JobOptions options;
  options.at = Time{Duration{1000}};
  options.expires_at = Time{Duration{2000}};

  const auto job = make_job("echo", options);

  ASSERT_TRUE(job);
  EXPECT_EQ(job->run_at, options.at);
  EXPECT_EQ(job->expires_at, options.expires_at);
}

TEST(JobOptions, NumbersOutOfRangeAreRefusedWithTheirRange) {
  JobOptions options;
  options.max_attempts = 0;
  EXPECT_THAT(refusal(options), HasSubstr("--max-attempts is 0: it must be from 1 to 1000000"));
  options.max_attempts = std::nullopt;
  options.crashes_max = kMaxAttemptsMax + 1;
  EXPECT_THAT(refusal(options), HasSubstr("--crashes-max"));
  options.crashes_max = std::nullopt;
  options.priority = 256;
  EXPECT_THAT(refusal(options), HasSubstr("--priority"));
}

TEST(JobOptions, TwoTimesOfOneKindExcludeEachOther) {
  JobOptions options;
  options.delay = Duration{1};
  options.at = Time{Duration{1}};
  EXPECT_THAT(refusal(options), HasSubstr("--delay and --at"));
  options.delay = {};
  options.expires = Duration{1};
  options.expires_at = Time{Duration{1}};
  EXPECT_THAT(refusal(options), HasSubstr("--expires and --expires-at"));
}

TEST(JobOptions, ARetryPolicyThatIsWrongIsRefusedWithAnExample) {
  JobOptions options;
  options.retry = "fibonacci:1s";
  EXPECT_THAT(refusal(options), HasSubstr("--retry: retry `fibonacci:1s`"));
  EXPECT_THAT(refusal(options), HasSubstr("exponential:1s cap:5m"));
  options.retry = std::string(kRetryBytesMax + 1, ' ');
  EXPECT_THAT(refusal(options), HasSubstr("1025 bytes"));
}

TEST(JobOptions, ATimeToLiveMeansItsScope) {
  JobOptions options;
  options.unique_key = "k";
  options.unique_ttl = Duration{60'000};

  const auto job = make_job("echo", options);

  ASSERT_TRUE(job);
  EXPECT_EQ(job->unique_scope, UniqueScope::ttl);
  EXPECT_EQ(job->unique_ttl, Duration{60'000});
  options.unique_scope = "active";
  EXPECT_THAT(refusal(options), HasSubstr("not with active"));
  options.unique_scope = "ttl";
  options.unique_ttl = {};
  EXPECT_THAT(refusal(options), HasSubstr("needs a --unique-ttl"));
}

TEST(JobOptions, WordsThatAreNoneAreRefusedWithThoseThereAre) {
  JobOptions options;
  options.unique_key = "k";
  options.unique_scope = "always";
  EXPECT_THAT(refusal(options), HasSubstr("`always` is none of queued, active, ttl"));
  options.unique_scope = "";
  options.on_conflict = "ignore";
  EXPECT_THAT(refusal(options), HasSubstr("`ignore` is none of existing, reject, replace"));
}

TEST(JobOptions, AKeyIsNeededForWhatIsSaidOfIt) {
  for (int i = 0; i < 3; ++i) {
    JobOptions options;
    if (i == 0) options.unique_scope = "active";
    if (i == 1) options.unique_ttl = Duration{1};
    if (i == 2) options.on_conflict = "reject";
    EXPECT_THAT(refusal(options), HasSubstr("there is none")) << i;
  }
}

TEST(JobOptions, AKeyIsAtMostAsLongAsTheBrokerTakes) {
  JobOptions options;
  options.unique_key = std::string(kUniqueKeyBytesMax, 'x');
  EXPECT_EQ(refusal(options), "");
  options.unique_key += 'x';
  EXPECT_THAT(refusal(options), HasSubstr("129 bytes are over the limit of 128"));
}

}  // namespace
}  // namespace millrace::producer

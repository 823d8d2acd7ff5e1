#include <gmock/gmock.h>

#include "producer/compare/advice.h"
#include "producer/compare/figures.h"

namespace millrace::producer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

Figures ran(Way way, double seconds, std::uint64_t slots = 2) {
  return {.way = way, .ran = true, .slots = slots, .jobs = 100, .seconds = seconds};
}
Figures inline_run(double seconds, double cpu_s) {
  Figures row = ran(Way::inline_run, seconds, 1);
  row.cpu_s = cpu_s;
  return row;
}
Figures refused(Way way) { return {.way = way, .jobs = 100, .error = "it cannot"}; }
Figures died(Way way) { return {.way = way, .died = true, .jobs = 100, .error = "signal 11"}; }

const Figures kComputing = inline_run(10, 10);
const Figures kWaiting = inline_run(10, 0.01);

TEST(CompareFigures, WhatComputesIsSpreadOverTheCpus) {
  EXPECT_DOUBLE_EQ(ideal_seconds(kComputing, 8, 2), 5);
  EXPECT_DOUBLE_EQ(ideal_seconds(kComputing, 1, 2), 10);
}

TEST(CompareFigures, WhatWaitsIsSpreadOverTheSlotsInWholeRounds) {
  EXPECT_NEAR(ideal_seconds(kWaiting, 256, 2), 0.1, 1e-3);
  EXPECT_NEAR(ideal_seconds(kWaiting, 6, 2), 1.7, 2e-3);
}

TEST(CompareFigures, WhoWaitsForACpuDoesNotWait) {
  Figures crowded = inline_run(10, 4);
  crowded.delayed_s = 5.5;
  EXPECT_DOUBLE_EQ(busy_share(crowded), 0.95);
}

TEST(CompareFigures, TheOverheadIsWhatAJobCostsBeyondItsShare) {
  EXPECT_NEAR(overhead_us(ran(Way::thread, 5.01), kComputing, 2), 100, 1e-6);
  EXPECT_EQ(overhead_us(ran(Way::thread, 4), kComputing, 2), 0);
  EXPECT_EQ(overhead_us(kComputing, kComputing, 2), 0);
}

TEST(CompareFigures, ARowInJsonHasNullForWhatWasNotMeasured) {
  Figures row = ran(Way::process, 5);
  row.cpu_s = 10.5;
  row.memory_bytes = 1000;
  EXPECT_EQ(to_json(row, kComputing, 2),
            R"({"executor":"process","jobs":100,"seconds":5.000000,"speedup":2.0000,)"
            R"("jobs_per_s":20.0,"cpu_s":10.500000,"memory_bytes":1000,"overhead_us":0.00,)"
            R"("error":null})");
  EXPECT_EQ(to_json(refused(Way::loop), kComputing, 2),
            R"({"executor":"loop","jobs":100,"seconds":null,"speedup":null,"jobs_per_s":null,)"
            R"("cpu_s":null,"memory_bytes":null,"overhead_us":null,"error":"it cannot"})");
}

TEST(CompareFigures, ARowOfTheTableHasADashForWhatWasNotMeasured) {
  Figures row = ran(Way::thread, 5.03);
  row.cpu_s = 10;
  row.memory_bytes = 17'400'000;
  row.failed = 3;
  row.error = "no luck";
  EXPECT_THAT(compare_cells(row, kComputing, 2),
              ElementsAre("threads", "2", "5.03 s", "1.99x", "19.9", "10.0 s", "17 MB", "300 µs",
                          "3 of 100 jobs failed: no luck"));
  EXPECT_THAT(compare_cells(refused(Way::loop), kComputing, 2),
              ElementsAre("loop", "-", "-", "-", "-", "-", "-", "-", "it cannot"));
  EXPECT_THAT(compare_cells(ran(Way::process, 5), refused(Way::inline_run), 2),
              ElementsAre("processes", "2", "5.00 s", "-", "20.0", "0.00 µs", "0 MB", "-", ""));
  EXPECT_EQ(compare_titles().size(), 9U);
}

TEST(CompareFigures, TimesHaveThreeDigits) {
  EXPECT_EQ(format_time(0.24e-6), "0.24 µs");
  EXPECT_EQ(format_time(35e-6), "35.0 µs");
  EXPECT_EQ(format_time(0.12), "120 ms");
  EXPECT_EQ(format_time(1234), "1234 s");
}

TEST(CompareAdvice, ThreadsWhereTheyAreAsFastAsProcesses) {
  const std::string advice = advise(
      "sum", {kComputing, ran(Way::thread, 5.2), ran(Way::process, 5.1), refused(Way::loop)});
  EXPECT_THAT(advice, StartsWith("threads: as fast as processes and cheaper"));
  EXPECT_THAT(advice, HasSubstr("choose processes if"));
}

TEST(CompareAdvice, ProcessesWhereThreadsWaitForEachOther) {
  const std::string advice =
      advise("lock", {kComputing, ran(Way::thread, 10), ran(Way::process, 5), refused(Way::loop)});
  EXPECT_THAT(advice, StartsWith("processes: 2.0 times as fast as threads"));
}

TEST(CompareAdvice, TheLoopForWhatWaitsIfTheKindCanRunThere) {
  const Figures threads = ran(Way::thread, 1.7, 6);
  EXPECT_THAT(advise("sleep", {kWaiting, threads, ran(Way::process, 5), ran(Way::loop, 0.11, 256)}),
              StartsWith("loop: the jobs wait (0 % CPU), and one thread holds 256"));
  EXPECT_THAT(advise("ask", {kWaiting, threads, ran(Way::process, 5), refused(Way::loop)}),
              AllOf(StartsWith("threads: the jobs wait"), HasSubstr("ask=thread:N (here 6)")));
}

TEST(CompareAdvice, WhatIsSmallerThanTheQueueIsToldSo) {
  const std::string advice = advise("echo", {inline_run(2e-6, 2e-6), ran(Way::thread, 2),
                                             ran(Way::process, 2.1), ran(Way::loop, 2)});
  EXPECT_THAT(advice, AllOf(StartsWith("threads, but put more work into each job"),
                            HasSubstr("0.02 µs"), HasSubstr("20.0 ms")));
}

TEST(CompareAdvice, ProcessesForWhatTakesItsProcessDown) {
  Figures process = ran(Way::process, 5);
  process.failed = 10;
  EXPECT_THAT(advise("bad", {died(Way::inline_run), died(Way::thread), process}),
              StartsWith("processes: `bad` takes down the process that runs it"));
}

TEST(CompareAdvice, AProgramRunsInProcessesOnly) {
  EXPECT_THAT(advise("py", {refused(Way::inline_run), refused(Way::thread), ran(Way::process, 5),
                            refused(Way::loop)}),
              AllOf(StartsWith("processes: the only place"), HasSubstr("py=process:N")));
}

TEST(CompareAdvice, NothingIsAdvisedWhereJobsFailEverywhere) {
  std::vector<Figures> rows{inline_run(10, 10), ran(Way::thread, 5)};
  for (Figures& row : rows) row.failed = 1;
  EXPECT_THAT(advise("fail", rows), StartsWith("none: jobs failed everywhere"));
  EXPECT_THAT(advise("odd", {refused(Way::inline_run), refused(Way::thread)}),
              StartsWith("none: `odd` could not be run"));
}

TEST(CompareAdvice, AShortMeasurementAndALittleGainAreTold) {
  const std::string advice =
      advise("sum", {inline_run(0.05, 0.05), ran(Way::thread, 0.049), ran(Way::process, 0.05)});
  EXPECT_THAT(advice, AllOf(HasSubstr("little is gained"), HasSubstr("more --jobs")));
  EXPECT_THAT(advise("sum", {kComputing, ran(Way::thread, 5), ran(Way::process, 5)}),
              Not(HasSubstr("little is gained")));
}

TEST(CompareAdvice, ACrowdedMachineIsTold) {
  Figures crowded = inline_run(10, 6);
  crowded.delayed_s = 4;
  const std::vector<Figures> rows{crowded, ran(Way::thread, 5), ran(Way::process, 5)};
  EXPECT_THAT(advise("sum", rows), HasSubstr("other programs used the CPUs"));
}

}  // namespace
}  // namespace millrace::producer

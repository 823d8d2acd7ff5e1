// What can be said of a run without a broker: which jobs of a request are new.

#include "producer/batch_run.h"

#include <gmock/gmock.h>

#include <utility>
#include <vector>

namespace millrace::producer {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

std::vector<std::pair<std::uint64_t, bool>> jobs_of(const Acknowledged& request) {
  std::vector<std::pair<std::uint64_t, bool>> jobs;
  request.for_each([&](JobId job, bool existing) { jobs.emplace_back(job.value, existing); });
  return jobs;
}

TEST(Acknowledged, WithoutIdsAllAreNewAndInARow) {
  EXPECT_THAT(jobs_of({.first = JobId{5}, .count = 2, .ids = {}}),
              ElementsAre(Pair(5, false), Pair(6, false)));
  EXPECT_THAT(jobs_of({.first = {}, .count = 0, .ids = {}}), IsEmpty());
}

TEST(Acknowledged, IdsThatAreNotTheNextNewOneWereThereBefore) {
  EXPECT_THAT(jobs_of({.first = JobId{10}, .count = 2, .ids = {JobId{10}, JobId{3}, JobId{11}}}),
              ElementsAre(Pair(10, false), Pair(3, true), Pair(11, false)));
}

TEST(Acknowledged, AKeyTwiceInOneRequestIsNewOnce) {
  EXPECT_THAT(jobs_of({.first = JobId{10}, .count = 1, .ids = {JobId{10}, JobId{10}}}),
              ElementsAre(Pair(10, false), Pair(10, true)));
}

TEST(Acknowledged, NothingNewIsAllThereBefore) {
  EXPECT_THAT(jobs_of({.first = {}, .count = 0, .ids = {JobId{3}, JobId{4}}}),
              ElementsAre(Pair(3, true), Pair(4, true)));
}

}  // namespace
}  // namespace millrace::producer

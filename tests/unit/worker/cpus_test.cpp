#include "common/util/cpus.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

TEST(Cpus, ReadsTheQuotaOfVersionTwo) {
  EXPECT_DOUBLE_EQ(parse_cpu_max("150000 100000\n").value(), 1.5);
  EXPECT_EQ(parse_cpu_max("max 100000\n"), std::nullopt);
}

TEST(Cpus, IgnoresWhatItCannotRead) {
  for (const char* text : {"", "\n", "max", "100000", "a b", "1 0", "-1 100000", "1x 100000"})
    EXPECT_EQ(parse_cpu_max(text), std::nullopt) << text;
}

TEST(Cpus, ReadsTheQuotaOfVersionOne) {
  EXPECT_DOUBLE_EQ(parse_cfs_quota("50000\n", "100000\n").value(), 0.5);
  EXPECT_EQ(parse_cfs_quota("-1\n", "100000\n"), std::nullopt);
  EXPECT_EQ(parse_cfs_quota("", ""), std::nullopt);
}

TEST(Cpus, FindsItsPlaceInBothHierarchies) {
  const auto both = parse_cgroup_paths(
      "12:memory:/m\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/s\n0::/system.slice/x.service\n");
  EXPECT_EQ(both.v2, "/system.slice/x.service");
  EXPECT_EQ(both.cpu, "/docker/abc");

  const auto none = parse_cgroup_paths("garbage\n\n3:cpuset:/s\n");
  EXPECT_EQ(none.v2, "");
  EXPECT_EQ(none.cpu, "");
}

TEST(Cpus, LooksAtEveryParent) {
  EXPECT_EQ(with_parents("/a/b"), (std::vector<std::string>{"/a/b", "/a", "/"}));
  EXPECT_EQ(with_parents("/"), (std::vector<std::string>{"/"}));
  EXPECT_EQ(with_parents(""), (std::vector<std::string>{"/"}));
}

TEST(Cpus, TakesTheLeastRoundedUpAndAtLeastOne) {
  EXPECT_EQ(usable_cpus(8, {}), 8U);
  EXPECT_EQ(usable_cpus(8, {1.5, 4.0}), 2U);
  EXPECT_EQ(usable_cpus(8, {0.1}), 1U);
  EXPECT_EQ(usable_cpus(2, {64.0}), 2U);
  EXPECT_EQ(usable_cpus(0, {}), 1U);
}

TEST(Cpus, FindsAtLeastOneHere) { EXPECT_GE(cpu_quota(), 1U); }

}  // namespace
}  // namespace millrace

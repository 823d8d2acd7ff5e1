#include "common/util/options.h"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A program with one option of each kind and two commands; sets back what it changes outside.
class OptionsTest : public testing::Test {
 protected:
  OptionsTest() {
    parser_.add("broker", broker_, "Where the broker listens");
    parser_.add("io-threads", io_threads_, "Threads");
    parser_.add("slots", slots_, "Slots");
    parser_.add("attempts", attempts_, "Attempts");
    parser_.add("grace", grace_, "Time to finish");
    parser_.add("min-free", min_free_, "Free space");
    parser_.add("queue", queues_, "Queues");
    parser_.add("verbose", verbose_, "More words");
    parser_.add_config_only("limits.payload_bytes_max", payload_bytes_max_);
    run_ = parser_.app().add_subcommand("run", "Runs");
    parser_.add(*run_, "timeout", timeout_, "Time of one run");
    parser_.app().add_subcommand("status", "Shows");
  }
  ~OptionsTest() override {
    for (const std::string& name : set_) unsetenv(name.c_str());  // NOLINT(concurrency-mt-unsafe)
    unlink(file_.c_str());
  }

  std::optional<int> parse(std::vector<const char*> words) {
    words.insert(words.begin(), "program");
    testing::internal::CaptureStderr();
    testing::internal::CaptureStdout();
    const auto code = parser_.parse(static_cast<int>(words.size()), words.data());
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return code;
  }
  void set(const std::string& name, const char* value) {
    setenv(name.c_str(), value, 1);  // NOLINT(concurrency-mt-unsafe)
    set_.push_back(name);
  }
  const char* write_file(const std::string& text) {
    std::ofstream(file_) << text;
    return file_.c_str();
  }

  OptionParser parser_{"millrace-test", "A program for tests"};
  CLI::App* run_ = nullptr;
  std::string broker_ = "tcp://127.0.0.1:7411";
  std::int64_t io_threads_ = 4;
  std::uint64_t slots_ = 1;
  std::optional<std::int64_t> attempts_;
  Duration grace_ = std::chrono::seconds{30};
  ByteSize min_free_{256'000'000};
  std::vector<std::string> queues_{"default"};
  bool verbose_ = false;
  Duration timeout_{};
  std::uint64_t payload_bytes_max_ = 1;
  std::string out_;
  std::string err_;

 private:
  std::vector<std::string> set_;
  const std::string file_ =
      testing::TempDir() + "options_test_" + std::to_string(getpid()) + ".toml";
};

TEST_F(OptionsTest, DefaultsStayWithoutAnySource) {
  EXPECT_EQ(parse({}), std::nullopt);
  EXPECT_EQ(io_threads_, 4);
  EXPECT_THAT(queues_, ElementsAre("default"));
}

TEST_F(OptionsTest, FlagsOfEveryTypeAreRead) {
  EXPECT_EQ(parse({"--broker=ipc://x", "--io-threads", "8", "--slots", "3", "--grace", "2m",
                   "--min-free", "1GB", "--queue", "a", "--queue", "b,c", "--verbose"}),
            std::nullopt)
      << err_;
  EXPECT_EQ(broker_, "ipc://x");
  EXPECT_EQ(io_threads_, 8);
  EXPECT_EQ(slots_, 3U);
  EXPECT_EQ(grace_, std::chrono::minutes{2});
  EXPECT_EQ(min_free_.bytes, 1'000'000'000U);
  EXPECT_THAT(queues_, ElementsAre("a", "b", "c"));
  EXPECT_TRUE(verbose_);
}

TEST_F(OptionsTest, ANumberThatWasNotSaidIsNotThere) {
  EXPECT_EQ(parse({}), std::nullopt);
  EXPECT_EQ(attempts_, std::nullopt);
  EXPECT_EQ(parse({"--attempts", "0"}), std::nullopt);
  EXPECT_EQ(attempts_, 0);
}

TEST_F(OptionsTest, ANumberThatIsNoneIsRefused) {
  EXPECT_EQ(parse({"--attempts", "many"}), 64);
  EXPECT_THAT(err_, HasSubstr("--attempts"));
}

TEST_F(OptionsTest, AListOptionTakesOneWordAtATime) {
  EXPECT_EQ(parse({"--queue", "a", "run"}), std::nullopt) << err_;
  EXPECT_THAT(queues_, ElementsAre("a"));
  EXPECT_TRUE(run_->parsed());
}

TEST_F(OptionsTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const char* file = write_file("io-threads = 5\nslots = 5\ngrace = \"5s\"\n");
  set("MILLRACE_IO_THREADS", "6");
  set("MILLRACE_SLOTS", "6");
  EXPECT_EQ(parse({"--config", file, "--slots", "7"}), std::nullopt) << err_;
  EXPECT_EQ(slots_, 7U);
  EXPECT_EQ(io_threads_, 6);
  EXPECT_EQ(grace_, std::chrono::seconds{5});
  EXPECT_EQ(min_free_.bytes, 256'000'000U);
}

TEST_F(OptionsTest, KnowsWhatWasGivenAndNotByWhom) {
  set("MILLRACE_SLOTS", "1");  // its default
  ASSERT_EQ(parse({"--grace", "1s", "--config", write_file("attempts = 2\n")}), std::nullopt);

  for (const char* given : {"slots", "grace", "attempts", "config"})
    EXPECT_TRUE(parser_.was_given(given)) << given;
  for (const char* other : {"io-threads", "timeout", "none"})
    EXPECT_FALSE(parser_.was_given(other)) << other;
}

TEST_F(OptionsTest, EnvironmentNamesTheFileAndTheLists) {
  set("MILLRACE_CONFIG", write_file("[limits]\npayload_bytes_max = \"64KiB\"\n"));
  set("MILLRACE_QUEUE", "x,y");
  set("MILLRACE_VERBOSE", "1");
  set("MILLRACE_GRACE", "");
  EXPECT_EQ(parse({}), std::nullopt) << err_;
  EXPECT_EQ(payload_bytes_max_, 65536U);
  EXPECT_THAT(queues_, ElementsAre("x", "y"));
  EXPECT_TRUE(verbose_);
  EXPECT_EQ(grace_, std::chrono::seconds{30});
}

TEST_F(OptionsTest, OptionsOfACommandHaveTheirOwnTable) {
  const char* file = write_file("[run]\ntimeout = \"9s\"\n");
  EXPECT_EQ(parse({"run", "--config", file}), std::nullopt) << err_;
  EXPECT_EQ(timeout_, std::chrono::seconds{9});
}

TEST_F(OptionsTest, GlobalOptionsWorkBeforeAndAfterTheCommand) {
  EXPECT_EQ(parse({"--slots", "2", "run", "--io-threads", "9", "--timeout", "1s"}), std::nullopt);
  EXPECT_EQ(slots_, 2U);
  EXPECT_EQ(io_threads_, 9);
}

TEST_F(OptionsTest, WrongUsageEndsWith64) {
  EXPECT_EQ(parse({"--nope"}), 64);
  EXPECT_EQ(parse({"--io-threads"}), 64);
  EXPECT_EQ(parse({"--io-threads", "x"}), 64);
  EXPECT_THAT(err_, HasSubstr("--io-threads: `x` is no integer"));
  EXPECT_EQ(parse({"--slots", "-1"}), 64);
  EXPECT_EQ(parse({"--grace", "5"}), 64);
  EXPECT_THAT(err_, HasSubstr("500ms"));
  EXPECT_EQ(parse({"--slots", "1", "--slots", "2"}), 64);
}

TEST_F(OptionsTest, NearMissesAreSuggested) {
  EXPECT_EQ(parse({"statsu"}), 64);
  EXPECT_THAT(err_, HasSubstr("unknown command `statsu`; did you mean `status`?"));
  EXPECT_EQ(parse({"run", "--brokr", "x"}), 64);
  EXPECT_THAT(err_, HasSubstr("unknown option `--brokr`; did you mean `--broker`?"));
  EXPECT_EQ(parse({"run", "fast"}), 64);
  EXPECT_THAT(err_, HasSubstr("unexpected argument `fast`"));
}

TEST_F(OptionsTest, AMissingCommandIsNamed) {
  parser_.app().require_subcommand(1);
  EXPECT_EQ(parse({}), 64);
  EXPECT_THAT(err_, HasSubstr("a command is missing; there are: run, status"));
}

TEST_F(OptionsTest, WrongConfigurationEndsWith78AndNamesThePlace) {
  EXPECT_EQ(parse({"--config", "/nonexistent/x.toml"}), 78);
  const char* file = write_file("slots = 1\nio-thread = 2\n");
  EXPECT_EQ(parse({"--config", file}), 78);
  EXPECT_THAT(err_, HasSubstr(".toml:2: unknown key `io_thread`; did you mean `io_threads`?"));
  write_file("slots = 1\nslots = \n");
  EXPECT_EQ(parse({"--config", file}), 78);
  EXPECT_THAT(err_, HasSubstr(".toml:2: "));
  write_file("\n\ngrace = 5\n");
  EXPECT_EQ(parse({"--config", file}), 78);
  EXPECT_THAT(err_, HasSubstr(".toml:3: `grace`: `5` is no duration"));
  write_file("slots = [1, 2]\n");
  EXPECT_EQ(parse({"--config", file}), 78);
  set("MILLRACE_SLOTS", "many");
  EXPECT_EQ(parse({}), 78);
  EXPECT_THAT(err_, HasSubstr("MILLRACE_SLOTS: `many`"));
}

TEST_F(OptionsTest, VersionAndHelpEndWith0) {
  EXPECT_EQ(parse({"--version"}), 0);
  EXPECT_THAT(out_, testing::MatchesRegex("millrace-test [0-9.]+\n"));
  EXPECT_EQ(parse({"run", "--help"}), 0);
  EXPECT_THAT(out_, HasSubstr("--timeout"));
  EXPECT_EQ(parse({"--help-all"}), 0);
  EXPECT_THAT(out_, HasSubstr("--min-free SIZE=256MB"));
  EXPECT_THAT(out_, HasSubstr("--timeout"));
}

TEST(NearestWord, LeavesWhatIsTooFarAway) {
  EXPECT_EQ(nearest_word("enqeue", {"enqueue", "queue"}), "enqueue");
  EXPECT_EQ(nearest_word("zzz", {"enqueue", "queue", "ls"}), std::nullopt);
}

}  // namespace
}  // namespace millrace

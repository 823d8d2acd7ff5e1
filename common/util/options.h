#pragma once

// How each program reads its options, so that all three behave alike.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/errors.h"
#include "common/types.h"

// Whoever defines commands or positional arguments includes <CLI/CLI.hpp>, in a source file.
namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
class Option;
}  // namespace CLI

namespace millrace {

/// An option written `64KiB` or `1GB`.
struct ByteSize {
  std::uint64_t bytes = 0;
};

/// One program's options. A value comes from the flag, else from the environment
/// (`MILLRACE_IO_THREADS` for `--io-threads`), else from the configuration file (TOML; `--config
/// FILE` or `MILLRACE_CONFIG`), else it stays what it was. In the file a global option is a key at
/// the top, an option of a command stands in the table of that command (`[queue.ls]`). An empty
/// variable counts as not set; lists are comma-separated there.
///
/// Targets are written by `parse` only and must outlive it.
class OptionParser {
 public:
  /// A number that may also be written as a size.
  struct Limit {
    std::uint64_t* value = nullptr;
  };
  /// A list of which each item must pass `check`.
  struct CheckedList {
    std::vector<std::string>* values = nullptr;
    Status (*check)(std::string_view) = nullptr;
  };
  using Target =
      std::variant<std::string*, std::int64_t*, std::optional<std::int64_t>*, std::uint64_t*, bool*,
                   Duration*, Time*, ByteSize*, std::vector<std::string>*, CheckedList, Limit>;

  OptionParser(std::string program, std::string description);
  ~OptionParser();
  OptionParser(const OptionParser&) = delete;
  OptionParser& operator=(const OptionParser&) = delete;

  CLI::App& app() { return *app_; }

  /// `name` without dashes. The current value of `target` is shown as the default; a bool is a flag
  /// that takes no value.
  template <class T>
  void add(const std::string& name, T& target, const std::string& help) {
    add_target(*app_, name, &target, help);
  }
  /// A list whose items are looked at where they were written, so that the message names the place.
  void add(const std::string& name, std::vector<std::string>& target,
           Status (*check)(std::string_view), const std::string& help) {
    add_target(*app_, name, CheckedList{&target, check}, help);
  }
  /// An option of one command. Global options work before and after the command.
  template <class T>
  void add(CLI::App& command, const std::string& name, T& target, const std::string& help) {
    add_target(command, name, &target, help);
  }
  /// A number or size that has no flag, only a key such as `limits.payload_bytes_max` and the
  /// variable MILLRACE_LIMITS_PAYLOAD_BYTES_MAX.
  void add_config_only(const std::string& key, std::uint64_t& target);

  /// Returns an exit code when the program should end now: 0 after help and version, 64 for wrong
  /// usage, 78 for a wrong configuration file or variable; what is wrong stands on stderr.
  [[nodiscard]] std::optional<int> parse(int argc, const char* const* argv);
  /// After parse(): true when flag, environment or file named this global option.
  [[nodiscard]] bool was_given(std::string_view name) const;

 private:
  struct Entry {
    std::string name;      // "io-threads"
    std::string key;       // in the file: "io_threads", "urls.timeout"
    std::string variable;  // "MILLRACE_IO_THREADS"
    Target target;
    CLI::App* command = nullptr;
    CLI::Option* flag = nullptr;  // none: configuration only
    bool given = false;
  };

  void add_target(CLI::App& command, const std::string& name, Target target,
                  const std::string& help);
  [[nodiscard]] Status apply_flags();
  [[nodiscard]] Status apply_environment();
  [[nodiscard]] Status apply_file();
  [[nodiscard]] bool in_use(const Entry& entry) const;
  [[nodiscard]] std::string explain(const std::string& cli_message) const;

  std::string program_;
  std::unique_ptr<CLI::App> app_;
  std::vector<Entry> entries_;
  std::string config_file_;
};

/// The one of `candidates` that `word` was probably meant to be, or nothing.
[[nodiscard]] std::optional<std::string> nearest_word(std::string_view word,
                                                      const std::vector<std::string>& candidates);

}  // namespace millrace

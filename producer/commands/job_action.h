#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "producer/commands/commands.h"

namespace millrace::producer {

enum class JobVerb : std::uint8_t { cancel, redrive };

/// Carries out CANCEL or REDRIVE on jobs named by ids or by a filter, in pages, and reports each
/// job that it did not work for.
class JobAction {
 public:
  JobAction(Context& context, JobVerb verb) : context_(context), verb_(verb) {}

  /// A whole command, with its exit code. Without states in the filter those are meant in which the
  /// verb has any use.
  [[nodiscard]] int run(const JobActOptions& options);
  /// Every job that matches, or with `dry_run` only the list of them.
  [[nodiscard]] Status run_filter(Client& client, const protocol::JobFilter& filter, bool dry_run);

  /// A row for each job in the formats for programs; off for those that print a sum.
  void print_rows(bool on) { rows_ = on; }
  [[nodiscard]] std::uint64_t succeeded() const { return succeeded_; }
  /// Jobs a dry run listed.
  [[nodiscard]] std::uint64_t listed() const { return listed_; }

 private:
  [[nodiscard]] std::string_view done_word() const;
  [[nodiscard]] std::vector<JobState> default_states() const;
  [[nodiscard]] Status act(Client& client, std::span<const JobId> ids);
  void report(JobId job, protocol::ItemStatus status);

  Context& context_;
  JobVerb verb_;
  bool rows_ = true;
  std::uint64_t succeeded_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t listed_ = 0;
};

}  // namespace millrace::producer

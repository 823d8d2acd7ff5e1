#pragma once

// What several commands share.

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "producer/commands/commands.h"

namespace millrace::producer {

/// Errors of all below: usage, with the value.
[[nodiscard]] Status check_queue(std::string_view queue);
[[nodiscard]] Status check_kind(std::string_view kind);
[[nodiscard]] Result<std::uint64_t> parse_id(std::string_view what, std::string_view text);

/// True when `options` names anything at all.
[[nodiscard]] bool selects(const SelectOptions& options);
[[nodiscard]] Result<protocol::JobFilter> make_filter(const SelectOptions& options);

/// The ids of jobs as people write them. Errors: usage.
[[nodiscard]] Result<std::vector<JobId>> parse_job_ids(const std::vector<std::string>& texts);

/// Walks over the jobs that exist now and match, oldest first, in pages of at most kFilterPageJobs.
/// `last` tells whether a further page follows. Jobs made while it walks are left out.
[[nodiscard]] Status for_each_page(
    Client& client, const protocol::JobFilter& filter,
    const std::function<Status(const std::vector<protocol::JobInfo>& jobs, bool last)>& visit);

/// Rows of `job ls`.
void print_jobs(Context& context, const std::vector<protocol::JobInfo>& jobs);
[[nodiscard]] std::string time_or_dash(Time time);
void print_workers(Context& context, const protocol::Report& report);
[[nodiscard]] Result<protocol::Report> ask_report(Context& context);
void print_queues(Context& context, const std::vector<protocol::QueueInfo>& queues);

/// Prints the rows of a batch's results, counts them, and keeps the progress bar going.
class ResultPrinter : public BatchEvents {
 public:
  explicit ResultPrinter(Context& context);
  void result(const protocol::ResultRow& row) override;
  void missing(JobId job, const Error& error) override;
  [[nodiscard]] Status turned() override;

  void follow(const BatchRun* run) { run_ = run; }
  /// `12 jobs · 10 done · 2 dead · 3.4 s · 3.5/s`, on stderr.
  void sum_up();
  /// 0, or 1 when some job ended without success, or is not there.
  [[nodiscard]] int code() const { return failed_ + missing_ == 0 ? kExitOk : kExitSomeFailed; }

 protected:
  Context& context_;

 private:
  const BatchRun* run_ = nullptr;
  Instant started_at_;
  std::uint64_t rows_ = 0;
  std::uint64_t failed_ = 0;
  std::uint64_t missing_ = 0;
  std::array<std::uint64_t, kJobStateCount> by_state_{};
};

}  // namespace millrace::producer

#pragma once

#include <millrace/handler.h>

#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "worker/child_jobs.h"
#include "worker/output_buffer.h"

namespace millrace::worker {

/// What a handler of this worker gets: its output goes to the buffer, what it enqueues to the
/// agent. The thread of the run.
class RunContext final : public JobContext {
 public:
  /// `job`, `outputs` and `children` must outlive it.
  RunContext(const Job& job, std::stop_token stop, OutputBuffer& outputs, ChildJobs& children)
      : JobContext(job, std::move(stop)), outputs_(outputs), children_(children) {}

 protected:
  void put_progress(std::uint64_t done, std::uint64_t total, std::string_view text) override {
    outputs_.progress(job(), done, total, text);
  }
  void put_log(std::string_view line) override { outputs_.log(job(), stop_token(), line); }
  void put_chunk(Payload part) override { outputs_.chunk(job(), stop_token(), std::move(part)); }
  std::vector<JobId> put_jobs(std::vector<JobRequest>&& jobs, const std::string& queue) override;

 private:
  OutputBuffer& outputs_;
  ChildJobs& children_;
};

}  // namespace millrace::worker

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/errors.h"
#include "producer/compare/figures.h"

namespace millrace::producer {

/// The jobs of a comparison, and the programs that run them.
struct TrialPlan {
  std::string kind;
  std::vector<std::string> payloads = {};  ///< JSON texts, taken in turn
  std::uint64_t jobs = 100;
  std::uint64_t slots = 0;               ///< jobs at once; 0: as a worker has them by default
  std::string broker_program = {};       ///< its path
  std::vector<std::string> worker = {};  ///< its program and arguments
  bool takes_broker = false;             ///< the worker program has --broker
};

/// Runs the same jobs in one way after the other. Each way has a broker, a worker and a folder of
/// its own, which are gone when it has been measured. Belongs to one thread, which must live as
/// long.
class Trials {
 public:
  /// `folder` exists and is ours; `stop_fd` becomes readable when we are asked to stop.
  Trials(TrialPlan plan, std::string folder, int stop_fd)
      : plan_(std::move(plan)), folder_(std::move(folder)), stop_fd_(stop_fd) {}

  /// Blocks for as long as the jobs take. What is wrong with the jobs, or with running them that
  /// way, is in the figures. Errors: stopping; usage, when the worker has
  /// no such kind;
  /// no_input, for programs that cannot be started; internal, for those that do not do their part.
  [[nodiscard]] Result<Figures> measure(Way way);

 private:
  [[nodiscard]] Result<Figures> measure_inline();
  [[nodiscard]] Result<Figures> measure_pool(Way way);

  TrialPlan plan_;
  std::string folder_;
  int stop_fd_;
  double mean_s_ = 0;  ///< of a job inline; 0: not known
};

}  // namespace millrace::producer

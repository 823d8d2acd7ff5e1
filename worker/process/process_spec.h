#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/process/nursery_messages.h"

namespace millrace::worker {

/// How the jobs of one kind are run in processes.
struct ProcessSpec {
  std::string kind;
  std::vector<std::string> command;      ///< the program and its arguments
  bool self = false;                     ///< the program is this one
  bool once = false;                     ///< one process a job, payload on stdin, result on stdout
  std::size_t size = 1;                  ///< children, or processes at once; 1 … 4096
  std::uint64_t jobs_per_child = 0;      ///< then it is replaced; 0: no limit
  std::uint64_t memory_growth_max = 0;   ///< bytes above its size after its first job; 0: no limit
  std::vector<std::string> environment;  ///< NAME=VALUE, added
  ChildLimits limits;
  ChildUser user;
};

}  // namespace millrace::worker

#pragma once

// Which kind runs in which pool, and how large the pools are. Pure.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/errors.h"
#include "worker/registry.h"

namespace millrace::worker {

enum class ExecutorType : std::uint8_t { thread, process, loop };
[[nodiscard]] std::string_view to_string(ExecutorType type);
[[nodiscard]] bool parse(std::string_view name, ExecutorType& type);

/// `KIND=thread|process|loop[:SIZE]`: what the operator says of one kind.
struct ExecutorChoice {
  std::string kind;
  ExecutorType type = ExecutorType::thread;
  std::optional<std::size_t> size;  ///< then the kind has a pool of its own
};
/// Error: usage, saying what it should look like.
[[nodiscard]] Result<ExecutorChoice> parse_executor_choice(std::string_view text);

/// `NAME=PROGRAM ARGUMENT…`: a kind that a program runs.
struct ProgramKind {
  std::string name;
  std::vector<std::string> command;
};
/// Words are separated by spaces; quotes and backslashes work as in a shell, nothing else does.
/// Error: usage.
[[nodiscard]] Result<ProgramKind> parse_program_kind(std::string_view text);

/// Sizes where nobody chose one; 0: nothing of that pool is offered.
struct PoolSizes {
  std::size_t io = 0;
  std::size_t cpu = 0;
  std::size_t processes = 0;  ///< of each kind
  std::size_t loop = 0;
};

inline constexpr std::size_t kPoolSizeMax = 4096;

struct PoolPlan {
  std::string name;  ///< `io`, `cpu`, `loop`, or `process.KIND` …
  ExecutorType type = ExecutorType::thread;
  std::size_t size = 0;
  std::string kind = {};  ///< of a pool that is for one kind only
};

/// Moves each kind to its pool and removes what no pool is left for. Errors: usage, for a kind that
/// does not exist or cannot run where it should, for a size out of range, and when nothing is left.
[[nodiscard]] Result<std::vector<PoolPlan>> place(Registry& registry, const PoolSizes& sizes,
                                                  const std::vector<ExecutorChoice>& choices);

/// `6 io and 2 cpu threads, …` for people.
[[nodiscard]] std::string describe(const std::vector<PoolPlan>& pools);

}  // namespace millrace::worker

#pragma once

// Bugs planted and crashes staged so that the tests can show that they would see them. Only a build
// with MILLRACE_INSTRUMENTED (the preset `sim`) has any: elsewhere both functions are empty and
// leave nothing behind in the programs.

namespace millrace::instrument {

#ifdef MILLRACE_INSTRUMENTED

/// True while bug number `n` is chosen. Read by many threads, set before they start.
[[nodiscard]] bool mutant(int n);
/// 0: none.
void choose_mutant(int n);

/// Ends this process with SIGKILL when the environment says MILLRACE_CRASH_AT=NAME, or, with
/// MILLRACE_CRASH_AT=NAME:COUNT, when it comes here for the COUNTth time. With
/// MILLRACE_CRASH_ARMED=PATH only visits while that file exists count, so that a test can bring a
/// process into a state first. tests/crash/crash_points_test.py stages a crash at each name.
void crash_point(const char* name);

#else

[[nodiscard]] constexpr bool mutant(int) { return false; }
constexpr void crash_point(const char*) {}

#endif

}  // namespace millrace::instrument

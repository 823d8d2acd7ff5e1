#pragma once

// The kinds every worker has: payload → result. A payload that cannot be used is rejected with
// `bad_payload: ` and what is wrong with it. Each runs on any number of threads at once.

#include <millrace/handler.h>

#include <memory>

#include "worker/net_guard.h"
#include "worker/registry.h"

namespace millrace::worker {

/// {"ms": N} → {"slept_ms": N}.
[[nodiscard]] Outcome run_sleep(JobContext& context);

/// Any payload, also bytes or none → the same.
[[nodiscard]] Outcome run_echo(JobContext& context);

/// {"times"?: N, "message"?: TEXT}: fails the first N attempts, or all → {"attempts": N+1}.
[[nodiscard]] Outcome run_fail(JobContext& context);

/// {"n": N} → {"sum": 0 + 1 + … + N−1}, added one by one.
[[nodiscard]] Outcome run_sum(JobContext& context);

/// {"from": A, "to": B, "list"?: BOOL}, both included, 0 ≤ A ≤ B < 2^63 → {"count": N} or
/// {"count": N, "primes": [...]}.
[[nodiscard]] Outcome run_primes(JobContext& context);

/// {"url": URL, "method"?: WORD, "timeout_ms"?: N, "redirects"?: N} →
/// {"status": N, "url": URL as given, "elapsed_ms": N, "error": null}. Any status is a result.
/// Where there is none the attempt fails with one word: timeout refused reset dns tls redirects
/// protocol blocked other. When the answer breaks off behind its headers, `error` in the result has
/// the word. Which addresses may be visited is `guard`'s to say. Made before any thread starts.
[[nodiscard]] Handler make_url_check(NetGuard guard);

// The same on the event loop.
void run_sleep_async(const std::shared_ptr<AsyncJob>& job);
[[nodiscard]] AsyncFactory make_url_check_async(NetGuard guard);
/// For a handler that neither waits nor computes for long.
[[nodiscard]] AsyncHandler inline_on_loop(Handler handler);

[[nodiscard]] Registry builtin_kinds(const NetGuard& guard);

}  // namespace millrace::worker

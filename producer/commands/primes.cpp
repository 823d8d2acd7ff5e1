#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "common/util/clock.h"
#include "producer/commands/commands.h"
#include "producer/commands/support.h"
#include "producer/json_text.h"
#include "producer/prime_chunks.h"
#include "producer/reorder.h"

namespace millrace::producer {
namespace {

/// How many jobs may wait or run beyond those that ended. It bounds what one run lays upon the
/// broker, and with --ordered what is kept here until its turn: at most 256 lists of 5,133 primes.
constexpr std::uint64_t kAheadMax = 10'000;
constexpr std::uint64_t kAheadOrderedMax = 256;

/// The end of one chunk. `primes` is the JSON array of a list.
struct ChunkResult {
  JobId job;
  std::uint64_t index = 0;
  bool good = false;
  std::uint64_t count = 0;
  std::vector<std::uint64_t> primes;
};

/// Which chunk a job is. The jobs of a request have ids in a row.
class ChunkIndex {
 public:
  void enqueued(const Acknowledged& request) { first_[request.first] = request.first_index; }
  [[nodiscard]] std::uint64_t of(JobId job) const {
    const auto range = std::prev(first_.upper_bound(job));
    return range->second + (job.value - range->first.value);
  }

 private:
  std::map<JobId, std::uint64_t> first_;
};

class PrimeEvents : public BatchEvents {
 public:
  PrimeEvents(Context& context, const PrimeChunks& chunks, const PrimesOptions& options)
      : context_(context), chunks_(chunks), options_(options), started_at_(read_clocks().mono) {}

  void acknowledged(const Acknowledged& request) override { index_.enqueued(request); }

  void result(const protocol::ResultRow& row) override {
    ++ended_;
    ChunkResult chunk = read(row);
    if (!chunk.good) {
      ++failed_;
      const auto [from, to] = chunks_.at(chunk.index);
      context_.error(fmt::format("{} to {} failed: {}", from, to,
                                 row.error.empty() ? to_string(row.state) : row.error));
    }
    if (!options_.ordered) {
      print(chunk);
      return;
    }
    const std::uint64_t index = chunk.index;
    for (const ChunkResult& next : order_.put(index, std::move(chunk))) print(next);
  }

  Status turned() override {
    context_.output().flush();
    context_.progress().draw({.done = ended_,
                              .total = chunks_.count(),
                              .failed = failed_,
                              .elapsed = read_clocks().mono - started_at_});
    return context_.output().failure();
  }

  /// True while one more job may be enqueued.
  [[nodiscard]] bool has_room(std::uint64_t taken) const {
    return options_.ordered ? taken < order_.next() + kAheadOrderedMax : taken < ended_ + kAheadMax;
  }

  [[nodiscard]] int finish() {
    context_.progress().clear();
    const Duration elapsed = read_clocks().mono - started_at_;
    const std::string took =
        fmt::format("{} · {}", format_count(ended_, "job"), format_elapsed(elapsed));
    if (failed_ > 0) {
      context_.output().finish();
      context_.error(fmt::format("no count: {} failed · {}", format_count(failed_, "job"), took));
      return kExitSomeFailed;
    }
    if (context_.output().is_table() && !options_.list)
      context_.output().line(fmt::format("{}", count_));
    context_.output().finish();
    // With a list the count is data for people, so no level hides it.
    if (options_.list)
      context_.error(fmt::format("{} · {}", format_count(count_, "prime"), took));
    else
      context_.note(took);
    return kExitOk;
  }

 private:
  ChunkResult read(const protocol::ResultRow& row) const {
    ChunkResult chunk{.job = row.job, .index = index_.of(row.job), .good = false, .primes = {}};
    if (row.state != JobState::done) return chunk;
    const auto result = nlohmann::json::parse(row.result.bytes, nullptr, false);
    if (!result.is_object()) return chunk;
    const auto count = result.find("count");
    if (count == result.end() || !count->is_number_unsigned()) return chunk;
    chunk.count = count->get<std::uint64_t>();
    const auto primes = result.find("primes");
    if (options_.list && primes != result.end() && primes->is_array())
      for (const auto& prime : *primes)
        if (prime.is_number_unsigned()) chunk.primes.push_back(prime.get<std::uint64_t>());
    chunk.good = !options_.list || chunk.primes.size() == chunk.count;
    return chunk;
  }

  void print(const ChunkResult& chunk) {
    if (!chunk.good) return;
    count_ += chunk.count;
    Output& output = context_.output();
    if (!output.is_table()) {
      const auto [from, to] = chunks_.at(chunk.index);
      JsonObject object;
      object.number("job", chunk.job.value).number("from", from).number("to", to);
      object.number("count", chunk.count);
      if (options_.list) object.raw("primes", fmt::format("[{}]", fmt::join(chunk.primes, ",")));
      output.row(object.take());
    } else if (options_.list && !chunk.primes.empty()) {
      context_.progress().clear();
      output.line(fmt::format("{}", fmt::join(chunk.primes, "\n")));
    }
  }

  Context& context_;
  const PrimeChunks& chunks_;
  const PrimesOptions& options_;
  Instant started_at_;
  ChunkIndex index_;
  ReorderBuffer<ChunkResult> order_;
  std::uint64_t ended_ = 0;
  std::uint64_t failed_ = 0;
  std::uint64_t count_ = 0;
};

class PrimeJobs : public JobSource {
 public:
  PrimeJobs(const PrimeChunks& chunks, bool list, const PrimeEvents& events)
      : chunks_(chunks), list_(list), events_(events) {}

  Next next(protocol::NewJob& job) override {
    if (next_ == chunks_.count()) return Next::end;
    if (!events_.has_room(next_)) return Next::idle;
    const auto [from, to] = chunks_.at(next_++);
    JsonObject payload;
    payload.number("from", from).number("to", to);
    if (list_) payload.boolean("list", true);
    job.kind = "primes";
    job.payload = Payload::text(payload.take());
    return Next::job;
  }

 private:
  const PrimeChunks& chunks_;
  bool list_;
  const PrimeEvents& events_;
  std::uint64_t next_ = 0;
};

}  // namespace

int run_primes(Context& context, const PrimesOptions& options) {
  if (const Status good = check_queue(options.queue); !good) return context.give_up(good.error());
  const auto chunks = PrimeChunks::make(options.from, options.to, options.chunk, options.list);
  if (!chunks) return context.give_up(chunks.error());
  const auto client = context.connect();
  if (!client) return context.give_up(client.error());
  PrimeEvents events(context, *chunks, options);
  PrimeJobs jobs(*chunks, options.list, events);
  BatchRun run(**client, {.queue = options.queue});
  if (const Status done = run.run(jobs, events); !done)
    return context.give_up(done.error(), run, events, chunks->count(), "job");
  return events.finish();
}

}  // namespace millrace::producer

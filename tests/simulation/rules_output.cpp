#include <set>

#include "tests/simulation/rules.h"
#include "tests/simulation/sim_producer.h"

namespace millrace::simulation {
namespace {

using Key = OutputsSeen::Key;

/// What one follower saw is what is stored.
void check_follower(const Evidence& evidence, JobId id, const Follower& follower) {
  const auto job = evidence.history.jobs.find(id);
  if (follower.lost || evidence.find(id) == nullptr || job == evidence.history.jobs.end()) return;
  if (job->second.redrives_sent != 0) return;
  auto told = follower.rows.begin();
  for (auto at = evidence.rows.job_outputs.lower_bound({id, OutputSeq{}});
       at != evidence.rows.job_outputs.end() && at->first == id; ++at) {
    const broker::OutputRow& row = evidence.rows.outputs.at(at->second);
    require(told != follower.rows.end() && told->cursor == row.seq && told->data == row.data &&
                told->type == row.type,
            "who followed job {} was not told of output {}", id.value, row.seq.value);
    ++told;
  }
  require(told == follower.rows.end(), "who followed job {} was told what is not stored", id.value);
}

}  // namespace

void rule_outputs(const Evidence& evidence) {
  const auto& sent = evidence.history.outputs.items();
  std::set<Key> stored;
  std::map<LeaseId, std::uint64_t> last;
  for (const auto& [seq, row] : evidence.rows.outputs) {
    const auto found = sent.find({row.lease, row.n});
    require(found != sent.end() && found->second.item.job == row.job &&
                found->second.item.data == row.data && found->second.item.type == row.type,
            "output {} of job {} was never sent like this", row.n, row.job.value);
    require(stored.insert({row.lease, row.n}).second, "output {} of lease {} is stored twice",
            row.n, row.lease.value);
    require(row.n > last[row.lease], "output {} of lease {} is out of order", row.n,
            row.lease.value);
    last[row.lease] = row.n;
  }
  for (const auto& [key, seen] : sent)
    require(!seen.told || stored.contains(key) || evidence.find(seen.item.job) == nullptr,
            "output {} of lease {} was taken and is not stored", key.second, key.first.value);
  for (const auto& producer : evidence.producers)
    for (const auto& [id, follower] : producer->followers()) check_follower(evidence, id, follower);
}

}  // namespace millrace::simulation

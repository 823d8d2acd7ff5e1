#include "tests/simulation/rules.h"
#include "tests/simulation/sim_producer.h"

namespace millrace::simulation {

void rule_unique(const Evidence& evidence) {
  for (const auto& [name, row] : evidence.rows.unique)
    require(row.until != Time{}, "key `{}` of queue {} is stuck: job {} has it at the end", row.key,
            row.queue, row.job.value);
  for (const auto& [id, row] : evidence.rows.jobs)
    require(!row.record.status.unique_held, "job {} has key `{}` after its end", id.value,
            row.record.spec.unique_key);
}

void rule_awaited(const Evidence& evidence) {
  for (const auto& producer : evidence.producers)
    for (const auto& [id, told] : producer->awaited()) {
      const broker::MemoryState::Job* row = evidence.find(id);
      const auto job = evidence.history.jobs.find(id);
      if (row == nullptr || job == evidence.history.jobs.end()) continue;
      if (job->second.redrives_sent != 0) continue;
      const broker::JobStatus& status = row->record.status;
      require(told.state == status.state && told.cursor == status.finish_seq &&
                  told.result == row->result && told.attempts == status.attempts,
              "who waited for job {} was told `{}`, another end than the stored one, `{}`",
              id.value, to_string(told.state), to_string(status.state));
    }
}

}  // namespace millrace::simulation

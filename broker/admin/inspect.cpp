#include "broker/admin/inspect.h"

#include <fmt/format.h>

namespace millrace::broker {
namespace {

std::string subject(const protocol::Show& show) {
  return show.job ? fmt::format("job {}", show.job.value)
                  : fmt::format("batch {}", show.batch.value);
}

protocol::Message answer(Query& query, const protocol::List& list) { return query.page(list); }

protocol::Message answer(Query& query, const protocol::Show& show) {
  auto item = query.item(show);
  if (item) return std::move(*item);
  return protocol::make_error(
      {ErrorCode::not_found,
       fmt::format("there is no {} (never, or no more: see --retention)", subject(show)),
       {}});
}

/// One damaged row or one slow page is the asker's to hear of; it stops nobody's work.
bool is_for_the_asker(const StoreError& error) {
  return error.code() == ErrorCode::corrupt || error.code() == ErrorCode::timeout;
}

}  // namespace

JobRead inspect_job(Query& query, const ReadJob& read) {
  try {
    return query.job(read);
  } catch (const StoreError& error) {
    if (!is_for_the_asker(error)) throw;
    JobRead answer;
    answer.to = read.to;
    answer.correlation = read.correlation;
    answer.job = read.job;
    answer.result_asked = read.result;
    answer.exists = true;
    answer.error = error.what();
    return answer;
  }
}

Reply inspect(Query& query, const Inspect& request) {
  try {
    return {request.to, request.correlation,
            std::visit([&](const auto& asked) { return answer(query, asked); }, request.request)};
  } catch (const StoreError& error) {
    if (!is_for_the_asker(error)) throw;
    return {request.to, request.correlation,
            protocol::make_error({error.code(), error.what(), {}})};
  }
}

}  // namespace millrace::broker

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

}  // namespace

Reply inspect(Query& query, const Inspect& request) {
  try {
    return {request.to, request.correlation,
            std::visit([&](const auto& asked) { return answer(query, asked); }, request.request)};
  } catch (const StoreError& error) {
    // One damaged row or one slow page is the asker's to hear of; it stops nobody's work.
    if (error.code() != ErrorCode::corrupt && error.code() != ErrorCode::timeout) throw;
    return {request.to, request.correlation,
            protocol::make_error({error.code(), error.what(), {}})};
  }
}

}  // namespace millrace::broker

#include "producer/output_stream.h"

#include <algorithm>

namespace millrace::producer {

Result<OutputSeq> stream_output(Client& client, JobId job, OutputSeq from, bool follow,
                                const std::function<Status(const protocol::OutputRow&)>& row,
                                OutputSeq* cursor) {
  while (true) {
    const auto page = client.call_long<protocol::OutputRows>(
        protocol::WatchOutput{.job = job, .from = from, .wait = follow});
    if (!page) return tl::make_unexpected(page.error());
    for (const protocol::OutputRow& next : page->rows) {
      if (Status good = row(next); !good) return tl::make_unexpected(good.error());
      from = std::max(from, next.cursor);
      if (cursor != nullptr) *cursor = from;
    }
    from = std::max(from, page->cursor);
    if (cursor != nullptr) *cursor = from;
    if (page->end || (page->rows.empty() && !follow)) return from;
  }
}

}  // namespace millrace::producer

#pragma once

// Read-only questions about what is committed. Never blocks the writer; every call is bounded in
// rows and time (250 ms a page; a page that would take longer comes back shorter).

#include <optional>

#include "broker/engine/effects.h"
#include "broker/engine/store_error.h"
#include "common/protocol/messages.h"

namespace millrace::broker {

/// One thread makes, uses and destroys it. Throws StoreError.
class Query {
 public:
  virtual ~Query() = default;
  Query() = default;
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  /// Ended jobs of a batch in the order of finish_seq, after `from`. `upto` is the committed
  /// high-water mark when everything was returned, else the last row's cursor.
  virtual ResultsRead results(const ReadResults& read) = 0;
  /// A page of jobs or batches (protocol::List says which), at most kPageRowsMax rows.
  virtual protocol::Page page(const protocol::List& list) = 0;
  /// Nothing when there is no such job or batch.
  virtual std::optional<protocol::Item> item(const protocol::Show& show) = 0;
  /// How a job ended, or what its runs left behind after `read.from`, in that order.
  virtual JobRead job(const ReadJob& read) = 0;
};

}  // namespace millrace::broker

#include "broker/store/log_vfs.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cstddef>
#include <cstring>
#include <new>

#include "broker/store/sqlite.h"

namespace millrace::broker::sqlite {

/// A copy of the one below with another `xOpen`. All else may find its own data in it as before.
struct WrappedVfs : sqlite3_vfs {
  explicit WrappedVfs(sqlite3_vfs& wrapped) : sqlite3_vfs(wrapped), base(&wrapped) {}
  sqlite3_vfs* base;
};

namespace {

/// SQLite's own file system writes less than 128 KiB at once.
constexpr std::size_t kWaitingMax = 124 << 10;

/// What SQLite sees of a log, followed in memory by the file of the file system below.
struct LogFile : sqlite3_file {
  char* waiting = nullptr;  ///< kWaitingMax bytes, the first `size` of them to be written …
  std::size_t size = 0;
  sqlite3_int64 offset = 0;  ///< … from here on
};
constexpr std::size_t kLogFileBytes =
    (sizeof(LogFile) + alignof(std::max_align_t) - 1) & ~(alignof(std::max_align_t) - 1);

LogFile& log(sqlite3_file* file) { return *static_cast<LogFile*>(file); }

sqlite3_file* below(sqlite3_file* file) {
  return reinterpret_cast<sqlite3_file*>(reinterpret_cast<std::byte*>(file) + kLogFileBytes);
}

int write_out(sqlite3_file* file) {
  LogFile& self = log(file);
  if (self.size == 0) return SQLITE_OK;
  const auto size = static_cast<int>(self.size);
  // Even if it fails: then the transaction fails, and whoever tries again writes it all again.
  self.size = 0;
  return below(file)->pMethods->xWrite(below(file), self.waiting, size, self.offset);
}

int write(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
  LogFile& self = log(file);
  const auto more = static_cast<std::size_t>(count);
  const bool fits = offset == self.offset + static_cast<sqlite3_int64>(self.size) &&
                    self.size + more <= kWaitingMax;
  if (!fits)
    if (const int result = write_out(file); result != SQLITE_OK) return result;
  if (more > kWaitingMax) return below(file)->pMethods->xWrite(below(file), bytes, count, offset);
  if (self.size == 0) self.offset = offset;
  std::memcpy(self.waiting + self.size, bytes, more);
  self.size += more;
  return SQLITE_OK;
}

/// What the file below does, once it has all that was written.
template <auto Method, class... Arguments>
int after_writing(sqlite3_file* file, Arguments... arguments) {
  const int result = write_out(file);
  return result != SQLITE_OK ? result : (below(file)->pMethods->*Method)(below(file), arguments...);
}

template <auto Method, class... Arguments>
int pass(sqlite3_file* file, Arguments... arguments) {
  return (below(file)->pMethods->*Method)(below(file), arguments...);
}

int close(sqlite3_file* file) {
  write_out(file);  // not synced, so nobody was promised anything
  delete[] log(file).waiting;
  return below(file)->pMethods->xClose(below(file));
}

sqlite3_io_methods make_methods() {
  using M = sqlite3_io_methods;
  M methods{};
  methods.iVersion = 1;  // shared memory and mapped files are of the database, not of the log
  methods.xClose = close;
  methods.xRead = after_writing<&M::xRead, void*, int, sqlite3_int64>;
  methods.xWrite = write;
  methods.xTruncate = after_writing<&M::xTruncate, sqlite3_int64>;
  methods.xSync = after_writing<&M::xSync, int>;
  methods.xFileSize = after_writing<&M::xFileSize, sqlite3_int64*>;
  methods.xLock = pass<&M::xLock, int>;
  methods.xUnlock = pass<&M::xUnlock, int>;
  methods.xCheckReservedLock = pass<&M::xCheckReservedLock, int*>;
  methods.xFileControl = pass<&M::xFileControl, int, void*>;
  methods.xSectorSize = pass<&M::xSectorSize>;
  methods.xDeviceCharacteristics = pass<&M::xDeviceCharacteristics>;
  return methods;
}

int open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  static const sqlite3_io_methods methods = make_methods();
  auto* const base = static_cast<WrappedVfs*>(vfs)->base;
  if ((flags & SQLITE_OPEN_WAL) == 0) return base->xOpen(base, name, file, flags, out_flags);

  auto* self = new (static_cast<void*>(file)) LogFile{};
  self->waiting = new (std::nothrow) char[kWaitingMax];
  if (self->waiting == nullptr) return SQLITE_NOMEM;
  const int result = base->xOpen(base, name, below(file), flags, out_flags);
  // Closed also after a failure, if it has methods.
  if (below(file)->pMethods != nullptr)
    self->pMethods = &methods;
  else
    delete[] self->waiting;
  return result;
}

std::unique_ptr<WrappedVfs> wrap(const std::string& base, const std::string& name) {
  set_up_library();
  sqlite3_vfs* const below = sqlite3_vfs_find(base.empty() ? nullptr : base.c_str());
  if (below == nullptr)
    throw StoreError(ErrorCode::storage_failed,
                     fmt::format("SQLite knows no file system `{}`", base));
  auto vfs = std::make_unique<WrappedVfs>(*below);
  vfs->zName = name.c_str();
  vfs->pNext = nullptr;
  vfs->szOsFile += static_cast<int>(kLogFileBytes);
  vfs->xOpen = open;
  sqlite3_vfs_register(vfs.get(), 0);
  return vfs;
}

}  // namespace

LogVfs::LogVfs(const std::string& base)
    : name_(fmt::format("millrace-log-{}", fmt::ptr(this))), vfs_(wrap(base, name_)) {}

LogVfs::~LogVfs() { sqlite3_vfs_unregister(vfs_.get()); }

}  // namespace millrace::broker::sqlite

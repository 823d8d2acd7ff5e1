#include "tests/contract/fault_vfs.h"

#include <sqlite3.h>

#include <cstddef>
#include <filesystem>
#include <new>
#include <string_view>

namespace millrace::broker::testing {
namespace {

/// What SQLite sees, followed in memory by the file of the real file system.
struct FaultFile {
  sqlite3_file base;
};

sqlite3_vfs& real() {
  static sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
  return *vfs;
}

sqlite3_file* inner(sqlite3_file* file) {
  return reinterpret_cast<sqlite3_file*>(reinterpret_cast<std::byte*>(file) +
                                         sizeof(std::max_align_t));
}
static_assert(sizeof(FaultFile) <= sizeof(std::max_align_t));

bool is_full() {
  const VfsFaults& faults = vfs_faults();
  return faults.full ||
         (!faults.full_while_exists.empty() && std::filesystem::exists(faults.full_while_exists));
}

int write(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
  ++vfs_faults().writes;
  if (is_full()) return SQLITE_FULL;
  return inner(file)->pMethods->xWrite(inner(file), bytes, count, offset);
}

int sync(sqlite3_file* file, int flags) {
  int& left = vfs_faults().syncs_until_failure;
  if (left > 0 && --left == 0) return SQLITE_IOERR_FSYNC;
  return inner(file)->pMethods->xSync(inner(file), flags);
}

int close(sqlite3_file* file) { return inner(file)->pMethods->xClose(inner(file)); }

template <auto Method, class... Arguments>
auto pass(sqlite3_file* file, Arguments... arguments) {
  return (inner(file)->pMethods->*Method)(inner(file), arguments...);
}

sqlite3_io_methods make_methods() {
  using M = sqlite3_io_methods;
  M methods{};
  methods.iVersion = 2;  // with shared memory, without mapped files
  methods.xClose = close;
  methods.xRead = pass<&M::xRead, void*, int, sqlite3_int64>;
  methods.xWrite = write;
  methods.xTruncate = pass<&M::xTruncate, sqlite3_int64>;
  methods.xSync = sync;
  methods.xFileSize = pass<&M::xFileSize, sqlite3_int64*>;
  methods.xLock = pass<&M::xLock, int>;
  methods.xUnlock = pass<&M::xUnlock, int>;
  methods.xCheckReservedLock = pass<&M::xCheckReservedLock, int*>;
  methods.xFileControl = pass<&M::xFileControl, int, void*>;
  methods.xSectorSize = pass<&M::xSectorSize>;
  methods.xDeviceCharacteristics = pass<&M::xDeviceCharacteristics>;
  methods.xShmMap = pass<&M::xShmMap, int, int, int, void volatile**>;
  methods.xShmLock = pass<&M::xShmLock, int, int, int>;
  methods.xShmBarrier = pass<&M::xShmBarrier>;
  methods.xShmUnmap = pass<&M::xShmUnmap, int>;
  return methods;
}

int open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  static const sqlite3_io_methods methods = make_methods();
  file->pMethods = nullptr;
  const int result = real().xOpen(&real(), name, inner(file), flags, out_flags);
  if (inner(file)->pMethods != nullptr) file->pMethods = &methods;
  return result;
}

}  // namespace

VfsFaults& vfs_faults() {
  static VfsFaults faults;
  return faults;
}

const char* fault_vfs() {
  static sqlite3_vfs vfs = [] {
    sqlite3_vfs copy = real();
    copy.zName = "millrace-faults";
    copy.szOsFile += static_cast<int>(sizeof(std::max_align_t));
    copy.xOpen = open;
    copy.pNext = nullptr;
    return copy;
  }();
  sqlite3_vfs_register(&vfs, 0);
  return vfs.zName;
}

}  // namespace millrace::broker::testing

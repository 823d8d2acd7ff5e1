#include "tests/simulation/powerloss_vfs.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstring>

namespace millrace::simulation {
namespace {

constexpr std::size_t kSectorBytes = 512;
constexpr int kPathBytesMax = 512;
/// What the functions below see of an open file.
struct OpenFile {
  sqlite3_file base;
  PowerDisk* disk;
  PowerDisk::File* file;
};

OpenFile& opened(sqlite3_file* file) { return *reinterpret_cast<OpenFile*>(file); }
PowerDisk& disk_of(sqlite3_vfs* vfs) { return *static_cast<PowerDisk*>(vfs->pAppData); }

// ---- a file ------------------------------------------------------------------------------------

int close(sqlite3_file*) { return SQLITE_OK; }

int read(sqlite3_file* base, void* into, int count, sqlite3_int64 offset) {
  const std::string& content = opened(base).file->content;
  const auto wanted = static_cast<std::size_t>(count);
  const auto from = std::min(static_cast<std::size_t>(offset), content.size());
  const std::size_t got = std::min(wanted, content.size() - from);
  std::memcpy(into, content.data() + from, got);
  if (got == wanted) return SQLITE_OK;
  std::memset(static_cast<char*>(into) + got, 0, wanted - got);
  return SQLITE_IOERR_SHORT_READ;
}

int write(sqlite3_file* base, const void* from, int count, sqlite3_int64 offset) {
  OpenFile& file = opened(base);
  if (!file.disk->operate()) return SQLITE_IOERR_WRITE;
  std::string& content = file.file->content;
  const auto size = static_cast<std::size_t>(count);
  const auto at = static_cast<std::size_t>(offset);
  if (content.size() < at + size) content.resize(at + size);
  std::memcpy(content.data() + at, from, size);
  file.file->pending.push_back({offset, {static_cast<const char*>(from), size}, false});
  return SQLITE_OK;
}

int truncate(sqlite3_file* base, sqlite3_int64 size) {
  OpenFile& file = opened(base);
  if (!file.disk->operate()) return SQLITE_IOERR_TRUNCATE;
  file.file->content.resize(static_cast<std::size_t>(size));
  file.file->pending.push_back({size, {}, true});
  return SQLITE_OK;
}

int sync(sqlite3_file* base, int) { return opened(base).disk->sync(*opened(base).file); }

int file_size(sqlite3_file* base, sqlite3_int64* size) {
  *size = static_cast<sqlite3_int64>(opened(base).file->content.size());
  return SQLITE_OK;
}

int lock(sqlite3_file*, int) { return SQLITE_OK; }
int check_lock(sqlite3_file*, int* locked) {
  *locked = 0;
  return SQLITE_OK;
}
int control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int sector_size(sqlite3_file*) { return static_cast<int>(kSectorBytes); }
int characteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

int map_shared(sqlite3_file* base, int region, int bytes, int, void volatile** memory) {
  auto& shared = opened(base).file->shared;
  while (shared.size() <= static_cast<std::size_t>(region))
    shared.push_back(std::make_unique<char[]>(static_cast<std::size_t>(bytes)));
  *memory = shared[static_cast<std::size_t>(region)].get();
  return SQLITE_OK;
}
int lock_shared(sqlite3_file*, int, int, int) { return SQLITE_OK; }
void barrier(sqlite3_file*) {}
int unmap_shared(sqlite3_file*, int) { return SQLITE_OK; }

sqlite3_io_methods make_methods() {
  sqlite3_io_methods methods{};
  methods.iVersion = 2;
  methods.xClose = close;
  methods.xRead = read;
  methods.xWrite = write;
  methods.xTruncate = truncate;
  methods.xSync = sync;
  methods.xFileSize = file_size;
  methods.xLock = lock;
  methods.xUnlock = lock;
  methods.xCheckReservedLock = check_lock;
  methods.xFileControl = control;
  methods.xSectorSize = sector_size;
  methods.xDeviceCharacteristics = characteristics;
  methods.xShmMap = map_shared;
  methods.xShmLock = lock_shared;
  methods.xShmBarrier = barrier;
  methods.xShmUnmap = unmap_shared;
  return methods;
}

// ---- the file system ---------------------------------------------------------------------------

int open(sqlite3_vfs* vfs, const char* name, sqlite3_file* base, int flags, int* out_flags) {
  static const sqlite3_io_methods methods = make_methods();
  base->pMethods = nullptr;
  PowerDisk& disk = disk_of(vfs);
  if (name == nullptr || (disk.find(name) == nullptr && (flags & SQLITE_OPEN_CREATE) == 0))
    return SQLITE_CANTOPEN;
  opened(base).disk = &disk;
  opened(base).file = &disk.open(name);
  base->pMethods = &methods;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int erase(sqlite3_vfs* vfs, const char* name, int) {
  if (!disk_of(vfs).operate()) return SQLITE_IOERR_DELETE;
  if (disk_of(vfs).find(name) == nullptr) return SQLITE_IOERR_DELETE_NOENT;
  disk_of(vfs).erase(name);
  return SQLITE_OK;
}

int access(sqlite3_vfs* vfs, const char* name, int, int* result) {
  *result = disk_of(vfs).find(name) != nullptr ? 1 : 0;
  return SQLITE_OK;
}

int full_path(sqlite3_vfs*, const char* name, int size, char* into) {
  sqlite3_snprintf(size, into, "%s", name);
  return SQLITE_OK;
}

int randomness(sqlite3_vfs* vfs, int count, char* into) {
  for (int i = 0; i < count; ++i) into[i] = static_cast<char>(disk_of(vfs).random().next());
  return count;
}

int sleep(sqlite3_vfs*, int microseconds) { return microseconds; }

int current_time(sqlite3_vfs*, double* day) {
  *day = 2460000.5;
  return SQLITE_OK;
}

}  // namespace

PowerDisk::PowerDisk(std::uint64_t seed)
    : name_(fmt::format("millrace-power-{}", fmt::ptr(this))),
      vfs_(std::make_unique<sqlite3_vfs>()),
      random_(seed) {
  vfs_->iVersion = 1;
  vfs_->szOsFile = sizeof(OpenFile);
  vfs_->mxPathname = kPathBytesMax;
  vfs_->zName = name_.c_str();
  vfs_->pAppData = this;
  vfs_->xOpen = simulation::open;
  vfs_->xDelete = simulation::erase;
  vfs_->xAccess = access;
  vfs_->xFullPathname = full_path;
  vfs_->xRandomness = randomness;
  vfs_->xSleep = sleep;
  vfs_->xCurrentTime = current_time;
  sqlite3_vfs_register(vfs_.get(), 0);
}

PowerDisk::~PowerDisk() { sqlite3_vfs_unregister(vfs_.get()); }

PowerDisk::File* PowerDisk::find(const std::string& path) {
  const auto found = files_.find(path);
  return found == files_.end() ? nullptr : &found->second;
}

bool PowerDisk::operate() {
  if (!running_) return false;
  if (operations_left_ == UINT64_MAX) return true;
  if (operations_left_-- == 0) {
    operations_left_ = UINT64_MAX;
    running_ = false;
  }
  return running_;
}

int PowerDisk::sync(File& file) {
  if (!operate()) return SQLITE_IOERR_FSYNC;
  if (syncs_until_failure_ != 0 && --syncs_until_failure_ == 0) {
    running_ = false;  // nobody may trust this disk before the next start
    return SQLITE_IOERR_FSYNC;
  }
  for (const Change& change : file.pending) apply(file.durable, change);
  file.pending.clear();
  return SQLITE_OK;
}

void PowerDisk::lose_power_after(std::uint64_t operations) { operations_left_ = operations; }

void PowerDisk::apply(std::string& bytes, const Change& change) {
  const auto at = static_cast<std::size_t>(change.offset);
  if (change.truncate) return bytes.resize(at);
  if (bytes.size() < at + change.bytes.size()) bytes.resize(at + change.bytes.size());
  bytes.replace(at, change.bytes.size(), change.bytes);
}

void PowerDisk::lose(File& file, SimRandom& random) {
  // Sometimes nearly all of it got to the disk, sometimes nothing.
  const double kept = random.chance(0.3) ? 0.0 : random.real();
  for (const Change& change : file.pending) {
    if (change.truncate) {
      if (random.chance(kept)) apply(file.durable, change);
      continue;
    }
    std::size_t from = 0;
    while (from < change.bytes.size()) {
      const std::size_t at = static_cast<std::size_t>(change.offset) + from;
      const std::size_t size =
          std::min(kSectorBytes - at % kSectorBytes, change.bytes.size() - from);
      if (random.chance(kept))
        apply(file.durable,
              {static_cast<std::int64_t>(at), change.bytes.substr(from, size), false});
      from += size;
    }
  }
  file.pending.clear();
  file.content = file.durable;
}

void PowerDisk::revive(bool power_lost, SimRandom& random) {
  running_ = true;
  operations_left_ = UINT64_MAX;
  syncs_until_failure_ = 0;
  for (auto& [path, file] : files_) {
    file.shared.clear();
    if (power_lost) lose(file, random);
  }
}

}  // namespace millrace::simulation

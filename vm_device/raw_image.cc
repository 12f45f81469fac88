#include "vm_device/raw_image.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_device/internal/owned_fd.h"

namespace vm_device {
namespace {

absl::StatusCode code_of(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR: return absl::StatusCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
    case ETXTBSY: return absl::StatusCode::kPermissionDenied;
    case EISDIR: return absl::StatusCode::kInvalidArgument;
    default: return absl::StatusCode::kUnavailable;
  }
}

absl::Status host_error(const std::string& path, int error) {
  return absl::Status(code_of(error),
                      absl::StrFormat("%s: %s", path, std::generic_category().message(error)));
}

absl::Status check_kind(const std::string& path, int descriptor) {
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) return host_error(path, errno);
  if (S_ISDIR(status.st_mode)) return host_error(path, EISDIR);
  if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode)) return absl::OkStatus();
  return absl::InvalidArgumentError(path + ": Not a regular file or block device");
}

absl::Status check_size(const std::string& path, std::uint64_t bytes) {
  if (bytes == 0) return absl::InvalidArgumentError(path + ": The image is empty");
  if (bytes % kSectorBytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: The size of %u bytes is not a multiple of 512", path, bytes));
  }
  return absl::OkStatus();
}

absl::Status lock_file(const std::string& path, int descriptor, ImageAccess access) {
  const int kind = access == ImageAccess::kReadWrite ? LOCK_EX : LOCK_SH;
  if (::flock(descriptor, kind | LOCK_NB) == 0) return absl::OkStatus();
  if (errno != EWOULDBLOCK) return host_error(path, errno);
  return absl::FailedPreconditionError(path + ": The image is in use (locked)");
}

// The node of a block device may lie in a tmpfs, too.
FileHome home_of(int descriptor) {
  struct stat status = {};
  struct statfs about = {};
  const bool in_memory = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
                         ::fstatfs(descriptor, &about) == 0 && about.f_type == TMPFS_MAGIC;
  return in_memory ? FileHome::kMemory : FileHome::kAnywhere;
}

absl::StatusOr<std::uint64_t> size_of(const std::string& path, int descriptor) {
  const off_t end = ::lseek(descriptor, 0, SEEK_END);
  if (end < 0) return host_error(path, errno);
  const auto bytes = static_cast<std::uint64_t>(end);
  if (absl::Status size = check_size(path, bytes); !size.ok()) return size;
  return bytes;
}

// The host cannot do it here: which error says so depends on the file system, on a block
// device's driver and block size, and on what a sandbox lets through.
bool is_unsupported(int error) { return error == EOPNOTSUPP || error == EINVAL || error == ENOSYS; }

// Repeats `step(done)` until `bytes` are done. What gives 0 would do so forever.
template <typename Step>
int move_all(std::size_t bytes, Step step) {
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t moved = step(done);
    if (moved == 0) return EIO;
    if (moved > 0) {
      done += static_cast<std::size_t>(moved);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RawImage>> RawImage::open(const std::string& path,
                                                         ImageAccess access, ImageLock lock) {
  // Without O_NONBLOCK the open of a FIFO would wait for its other end.
  const int mode = access == ImageAccess::kReadWrite ? O_RDWR : O_RDONLY;
  internal::OwnedFd descriptor(::open(path.c_str(), mode | O_CLOEXEC | O_NONBLOCK));
  if (!descriptor.is_open()) return host_error(path, errno);
  if (absl::Status kind = check_kind(path, descriptor.get()); !kind.ok()) return kind;
  if (lock == ImageLock::kAtOnce) {
    if (absl::Status locked = lock_file(path, descriptor.get(), access); !locked.ok()) {
      return locked;
    }
  }
  const auto bytes = size_of(path, descriptor.get());
  if (!bytes.ok()) return bytes.status();
  const FileHome home = home_of(descriptor.get());
  return std::unique_ptr<RawImage>(new RawImage(path, descriptor.release(), home, *bytes, access));
}

RawImage::~RawImage() { ::close(descriptor_); }

absl::Status RawImage::lock() {
  if (absl::Status locked = lock_file(path_, descriptor_, access_); !locked.ok()) return locked;
  // What this host has kept of the file is older than what the last owner wrote.
  ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED);
  absl::Status size = refresh_size();
  if (!size.ok()) unlock();
  return size;
}

void RawImage::unlock() { ::flock(descriptor_, LOCK_UN); }

int RawImage::read_at(std::uint64_t offset, std::span<std::byte> to) {
  return move_all(to.size(), [&](std::size_t done) {
    return ::pread(descriptor_, &to[done], to.size() - done, static_cast<off_t>(offset + done));
  });
}

// A file that somebody shortens meanwhile is not made longer again.
int RawImage::check_range(std::uint64_t offset, std::uint64_t bytes) const {
  const off_t end = ::lseek(descriptor_, 0, SEEK_END);
  if (end < 0) return errno;
  const auto size = static_cast<std::uint64_t>(end);
  return offset <= size && bytes <= size - offset ? 0 : EIO;
}

int RawImage::write_at(std::uint64_t offset, std::span<const std::byte> from) {
  const std::shared_lock lock(size_mutex_);
  if (const int error = check_range(offset, from.size()); error != 0) return error;
  return move_all(from.size(), [&](std::size_t done) {
    return ::pwrite(descriptor_, &from[done], from.size() - done,
                    static_cast<off_t>(offset + done));
  });
}

AsyncFile RawImage::file_at(std::uint64_t offset, std::uint64_t bytes) const {
  return check_range(offset, bytes) == 0 ? AsyncFile{descriptor_, offset, home_} : AsyncFile{};
}

int RawImage::flush() {
  while (::fdatasync(descriptor_) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

int RawImage::free_or_zero(int mode, std::uint64_t offset, std::uint64_t bytes) const {
  const std::shared_lock lock(size_mutex_);
  if (const int error = check_range(offset, bytes); error != 0 || bytes == 0) return error;
  while (::fallocate(descriptor_, mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

int RawImage::discard(std::uint64_t offset, std::uint64_t bytes) {
  const int error = free_or_zero(FALLOC_FL_PUNCH_HOLE, offset, bytes);
  return is_unsupported(error) ? 0 : error;
}

int RawImage::write_zeroes(std::uint64_t offset, std::uint64_t bytes, ZeroSpace space) {
  int error = EOPNOTSUPP;
  if (space == ZeroSpace::kMayFree) error = free_or_zero(FALLOC_FL_PUNCH_HOLE, offset, bytes);
  if (is_unsupported(error)) error = free_or_zero(FALLOC_FL_ZERO_RANGE, offset, bytes);
  return is_unsupported(error) ? BlockImage::write_zeroes(offset, bytes, space) : error;
}

absl::Status RawImage::resize(std::uint64_t bytes) {
  if (access_ == ImageAccess::kReadOnly) {
    return absl::PermissionDeniedError(path_ + ": The image is read-only");
  }
  if (absl::Status size = check_size(path_, bytes); !size.ok()) return size;
  if (bytes > INT64_MAX) return host_error(path_, EFBIG);
  std::unique_lock lock(size_mutex_);
  const std::uint64_t before = bytes_.load();
  if (absl::Status status = set_size(bytes); !status.ok()) return status;
  lock.unlock();
  if (bytes != before) announce_resize();
  return absl::OkStatus();
}

// A smaller disk first: no request then reaches for what the file is about to lose.
absl::Status RawImage::set_size(std::uint64_t bytes) {
  const std::uint64_t before = bytes_.load();
  bytes_.store(std::min(before, bytes));
  if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) {
    const int error = errno;
    bytes_.store(before);
    return host_error(path_, error);
  }
  bytes_.store(bytes);
  return absl::OkStatus();
}

absl::Status RawImage::refresh_size() {
  std::unique_lock lock(size_mutex_);
  const auto bytes = size_of(path_, descriptor_);
  if (!bytes.ok()) return bytes.status();
  const bool has_changed = bytes_.exchange(*bytes) != *bytes;
  lock.unlock();
  if (has_changed) announce_resize();
  return absl::OkStatus();
}

}  // namespace vm_device

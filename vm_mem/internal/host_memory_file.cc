// Regular files: opened or duplicated, checked, never made longer.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/internal/host_memory_descriptor.h"
#include "vm_mem/internal/host_memory_error.h"
#include "vm_mem/internal/host_memory_fd.h"
#include "vm_mem/internal/host_memory_reservation.h"
#include "vm_mem/internal/host_memory_source.h"

namespace vm_mem::internal {
namespace {

std::string name_of(const HostFile& file) {
  return file.path.empty() ? absl::StrFormat("descriptor %d", file.fd) : file.path;
}

bool writes_file(const HostFile& file) {
  return file.sharing == FileSharing::kShared && file.access == FileAccess::kReadWrite;
}

absl::Status not_permitted(const HostFile& file, int error) {
  return absl::PermissionDeniedError(absl::StrFormat(
      "%s may not be %s (errno %d)%s", name_of(file), writes_file(file) ? "written" : "read", error,
      writes_file(file) ? ": make it writable, or map it kPrivate, or with Protection::kRead"
                        : ""));
}

absl::Status not_opened(const HostFile& file, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(
          absl::StrFormat("there is no file %s (errno %d)", file.path, error));
    case EISDIR:
      return absl::InvalidArgumentError(
          absl::StrFormat("%s is a directory: RAM needs a regular file", file.path));
    case EACCES:
    case EPERM:
    case EROFS:
    case ETXTBSY: return not_permitted(file, error);
    case EBADF:
      return absl::InvalidArgumentError(absl::StrFormat("descriptor %d is not open", file.fd));
    default:
      return absl::Status(
          host_refused("open", 0, error).code(),
          absl::StrFormat("%s could not be opened: errno %d", name_of(file), error));
  }
}

absl::StatusOr<HostFd> opened(const HostFile& file) {
  if (file.path.empty() == (file.fd < 0)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "file-backed memory needs either a path or a descriptor: path \"%s\", descriptor %d",
        file.path, file.fd));
  }
  // O_NONBLOCK: a FIFO would wait for its other end before it could be refused.
  const int mode = (writes_file(file) ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
  HostFd fd(file.path.empty() ? ::fcntl(file.fd, F_DUPFD_CLOEXEC, 0)
                              : ::open(file.path.c_str(), mode));
  if (fd.get() < 0) return not_opened(file, errno);
  return fd;
}

// Of a descriptor that came from outside.
absl::Status check_open_mode(const HostFile& file, int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  const int mode = flags & O_ACCMODE;
  const bool reads = (flags & O_PATH) == 0 && mode != O_WRONLY;
  if (reads && (mode == O_RDWR || !writes_file(file))) return absl::OkStatus();
  return not_permitted(file, EACCES);
}

absl::Status check_kind(const HostFile& file, const struct stat& about) {
  if (S_ISREG(about.st_mode)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is %s: RAM needs a regular file", name_of(file),
                      S_ISDIR(about.st_mode) ? "a directory" : "not a regular file"));
}

class FileSource final : public PageSource {
 public:
  FileSource(HostFile file, HostFd fd, std::size_t page_bytes)
      : file_(std::move(file)), fd_(std::move(fd)), page_bytes_(page_bytes) {}

  PageTraits traits() const override { return {page_bytes_, file_.sharing, file_.access}; }

  absl::Status check_length(std::uint64_t bytes) const override;
  absl::Status map(std::span<std::byte> part, std::size_t offset) const override;
  absl::Status discard(std::span<std::byte> part, std::size_t offset) const override;
  absl::Status refresh(std::span<std::byte> part, std::size_t) const override {
    return shared() ? absl::OkStatus() : drop_private_pages(part);
  }
  absl::Status allocate(std::size_t offset, std::size_t bytes) const override;

  int shareable_fd() const override { return shared() ? fd_.get() : -1; }
  std::uint64_t fd_offset() const override { return shared() ? file_.offset : 0; }

 private:
  bool shared() const { return file_.sharing == FileSharing::kShared; }
  DescriptorRange range(std::size_t offset, std::size_t bytes) const {
    return {fd_.get(), file_.offset + offset, bytes};
  }

  HostFile file_;
  HostFd fd_;
  std::size_t page_bytes_;
};

absl::Status FileSource::check_length(std::uint64_t bytes) const {
  struct stat about = {};
  if (::fstat(fd_.get(), &about) != 0) return host_refused("fstat", bytes, errno);
  const auto length = static_cast<std::uint64_t>(about.st_size);
  if (file_.offset <= length && bytes <= length - file_.offset) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s has 0x%x bytes: too short for 0x%x bytes from offset 0x%x on; make it longer (truncate "
      "-s)",
      name_of(file_), length, bytes, file_.offset));
}

absl::Status FileSource::map(std::span<std::byte> part, std::size_t offset) const {
  const bool read_only = file_.access == FileAccess::kReadOnly;
  const int error =
      map_descriptor(part, range(offset, part.size()),
                     {.protection = PROT_READ | (read_only ? 0 : PROT_WRITE),
                      .flags = (shared() ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE});
  if (error == EPERM || error == EACCES) return not_permitted(file_, error);
  return error == 0 ? absl::OkStatus() : host_refused("mmap", part.size(), error);
}

absl::Status FileSource::discard(std::span<std::byte> part, std::size_t offset) const {
  if (shared()) return punch_hole(range(offset, part.size()));
  return absl::FailedPreconditionError(absl::StrFormat(
      "a discarded page of %s, which is mapped kPrivate, would show the file again: fill it with "
      "zeros",
      name_of(file_)));
}

absl::Status FileSource::allocate(std::size_t offset, std::size_t bytes) const {
  return shared() && file_.access == FileAccess::kReadWrite ? allocate_range(range(offset, bytes))
                                                            : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PageSource>> file_source(const HostFile& file) {
  if (file.offset % host_page_bytes() != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("offset 0x%x of %s is not a multiple of the host's page size 0x%x",
                        file.offset, name_of(file), host_page_bytes()));
  }
  absl::StatusOr<HostFd> fd = opened(file);
  if (!fd.ok()) return fd.status();
  struct stat about = {};
  if (::fstat(fd->get(), &about) != 0) return host_refused("fstat", 0, errno);
  if (absl::Status kind = check_kind(file, about); !kind.ok()) return kind;
  if (absl::Status mode = check_open_mode(file, fd->get()); !mode.ok()) return mode;
  return std::make_unique<FileSource>(file, *std::move(fd), host_page_bytes());
}

}  // namespace vm_mem::internal

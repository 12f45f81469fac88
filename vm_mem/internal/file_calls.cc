#include "vm_mem/internal/file_calls.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {
namespace {

class HostCalls final : public FileCalls {
 public:
  bool may_use_ring() const override { return true; }
};

absl::StatusCode code_of(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR: return absl::StatusCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS: return absl::StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE: return absl::StatusCode::kResourceExhausted;
    case ELOOP:
    case ENAMETOOLONG:
    case EISDIR: return absl::StatusCode::kInvalidArgument;
    default: return absl::StatusCode::kUnavailable;
  }
}

std::string text_of(int error) {
  return absl::StrFormat("errno %d (%s)", error, std::generic_category().message(error));
}

}  // namespace

ssize_t FileCalls::read_at(int fd, std::byte* to, std::size_t bytes, std::uint64_t offset) {
  return ::pread(fd, to, bytes, static_cast<off_t>(offset));
}

ssize_t FileCalls::write_at(int fd, const std::byte* from, std::size_t bytes,
                            std::uint64_t offset) {
  return ::pwrite(fd, from, bytes, static_cast<off_t>(offset));
}

int FileCalls::sync_data(int fd) { return ::fdatasync(fd); }
int FileCalls::sync_folder(int fd) { return ::fsync(fd); }
int FileCalls::rename(const std::string& from, const std::string& to) {
  return std::rename(from.c_str(), to.c_str());
}

FileCalls& FileCalls::host() {
  static HostCalls calls;
  return calls;
}

absl::Status file_refused(std::string_view path, std::uint64_t offset, std::string_view what,
                          int error) {
  return {code_of(error),
          absl::StrFormat("%s: at 0x%x: %s: %s", path, offset, what, text_of(error))};
}

absl::Status file_refused(std::string_view path, std::string_view what, int error) {
  return {code_of(error), absl::StrFormat("%s: %s: %s", path, what, text_of(error))};
}

absl::Status file_error(std::string_view path, std::uint64_t offset, const absl::Status& reason) {
  return {reason.code(), absl::StrFormat("%s: at 0x%x: %s", path, offset, reason.message())};
}

absl::Status read_exactly(FileCalls& calls, const OpenFile& file, std::uint64_t offset,
                          std::span<std::byte> to) {
  while (!to.empty()) {
    const ssize_t done = calls.read_at(file.fd.get(), to.data(), to.size(), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return file_refused(file.path, offset, "reading", errno);
    if (done == 0) {
      return file_error(file.path, offset, absl::DataLossError("the file ends here, too early"));
    }
    to = to.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return absl::OkStatus();
}

absl::Status write_exactly(FileCalls& calls, const OpenFile& file, std::uint64_t offset,
                           std::span<const std::byte> from) {
  while (!from.empty()) {
    const ssize_t done = calls.write_at(file.fd.get(), from.data(), from.size(), offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return file_refused(file.path, offset, "writing", done == 0 ? ENOSPC : errno);
    from = from.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return absl::OkStatus();
}

absl::StatusOr<OpenFile> open_to_read(const std::string& path, std::uint64_t& bytes) {
  // O_NONBLOCK: a FIFO would wait for its other end before it could be refused.
  OpenFile file{.path = path,
                .fd = HostFd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK))};
  if (file.fd.get() < 0 && errno == ELOOP) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: this is a symbolic link", path));
  }
  if (file.fd.get() < 0) return file_refused(path, "opening", errno);
  struct stat about = {};
  if (::fstat(file.fd.get(), &about) != 0) return file_refused(path, "fstat", errno);
  if (!S_ISREG(about.st_mode)) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: this is no regular file", path));
  }
  // io_uring before Linux 6 would not wait for what is not in the page cache.
  ::fcntl(file.fd.get(), F_SETFL, O_RDONLY);
  bytes = static_cast<std::uint64_t>(about.st_size);
  return file;
}

std::string name_of_descriptor(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

OpenFile reopened_direct(const OpenFile& file) {
  const std::string self = name_of_descriptor(file.fd.get());
  OpenFile other{.path = file.path,
                 .fd = HostFd(::open(self.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT)),
                 .direct = true};
  if (other.fd.get() >= 0) return other;
  return reopened_buffered(file);
}

OpenFile reopened_buffered(const OpenFile& file) {
  return {.path = file.path, .fd = HostFd(::fcntl(file.fd.get(), F_DUPFD_CLOEXEC, 0))};
}

bool has_cached(const OpenFile& file, std::uint64_t offset) {
  std::byte byte{};
  const iovec to{.iov_base = &byte, .iov_len = 1};
  return ::preadv2(file.fd.get(), &to, 1, static_cast<off_t>(offset), RWF_NOWAIT) == 1;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string name_of_file(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace vm_mem::internal

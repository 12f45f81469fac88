#include "vm_mem/internal/new_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_mem/snapshot_info.h"

namespace vm_mem::internal {
namespace {

constexpr int kCreate = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
constexpr mode_t kMode = 0600;  // the guest's secrets are in it

// A device or a FIFO of that name would be replaced, too.
bool may_be_replaced(const std::string& path) {
  struct stat about = {};
  return ::lstat(path.c_str(), &about) != 0 || S_ISREG(about.st_mode) || S_ISLNK(about.st_mode);
}

}  // namespace

absl::StatusOr<NewFile> NewFile::create(const std::string& path, Cache cache, FileCalls& calls) {
  if (!may_be_replaced(path)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: this is no regular file, and is not replaced by one", path));
  }
  std::string name = path + ".tmp." + SnapshotId::make().text();
  NewFile created(calls, {.path = path, .direct = cache == Cache::kAvoided});
  OpenFile& file = created.file_;
  file.fd = HostFd(::open(name.c_str(), kCreate | (file.direct ? O_DIRECT : 0), kMode));
  if (file.fd.get() < 0 && file.direct && errno == EINVAL) {
    // Where it is the file system that refuses O_DIRECT, the file is there already.
    ::unlink(name.c_str());
    file.fd = HostFd(::open(name.c_str(), kCreate, kMode));
    file.direct = false;
  }
  if (file.fd.get() < 0) return file_refused(path, absl::StrFormat("creating %s", name), errno);
  created.temporary_ = std::move(name);
  return created;
}

NewFile::NewFile(FileCalls& calls, OpenFile file) : calls_(calls), file_(std::move(file)) {}

NewFile::NewFile(NewFile&& other) noexcept
    : calls_(other.calls_),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::move(other.file_)) {}

NewFile::~NewFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

absl::Status NewFile::resize(std::uint64_t bytes) {
  if (::ftruncate(file_.fd.get(), static_cast<off_t>(bytes)) == 0) return absl::OkStatus();
  return file_refused(file_.path, "ftruncate", errno);
}

absl::Status NewFile::sync() {
  if (calls_.sync_data(file_.fd.get()) == 0) return absl::OkStatus();
  return file_refused(file_.path, "fdatasync", errno);
}

absl::Status NewFile::publish() {
  // First all that can fail without the file having its name.
  const std::string folder = folder_of(file_.path);
  const HostFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) {
    return file_refused(file_.path, absl::StrFormat("opening %s", folder), errno);
  }
  if (calls_.rename(temporary_, file_.path) != 0) {
    return file_refused(file_.path, absl::StrFormat("renaming %s", temporary_), errno);
  }
  temporary_.clear();
  // EINVAL: this file system brings its folders to the disk in another way.
  if (calls_.sync_folder(fd.get()) == 0 || errno == EINVAL) return absl::OkStatus();
  return file_refused(file_.path, absl::StrFormat("fsync of %s", folder), errno);
}

}  // namespace vm_mem::internal

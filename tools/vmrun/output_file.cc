#include "tools/vmrun/output_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmrun {
namespace {

constexpr mode_t kMode = 0666;

absl::Status refused(const std::string& name, int error) {
  return absl::UnavailableError(absl::StrCat(name, ": ", std::strerror(error)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::open(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_NOCTTY | O_CLOEXEC, kMode);
  if (descriptor < 0) return refused(path, errno);
  // Not before: to open a pipe waits for its reader.
  fcntl(descriptor, F_SETFL, O_NONBLOCK);
  return std::unique_ptr<OutputFile>(new OutputFile(path, descriptor));
}

std::unique_ptr<OutputFile> OutputFile::standard_error(std::string name) {
  return std::unique_ptr<OutputFile>(new OutputFile(std::move(name), STDERR_FILENO));
}

OutputFile::OutputFile(std::string name, int descriptor)
    : name_(std::move(name)), descriptor_(descriptor), output_(descriptor) {}

OutputFile::~OutputFile() {
  output_.flush();
  if (descriptor_ != STDERR_FILENO) close(descriptor_);
}

// Disk images hold the same lock.
absl::Status OutputFile::begin() {
  struct stat about;
  if (descriptor_ == STDERR_FILENO || fstat(descriptor_, &about) != 0) return absl::OkStatus();
  if (!S_ISREG(about.st_mode) && !S_ISBLK(about.st_mode)) return absl::OkStatus();
  if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return absl::FailedPreconditionError(absl::StrCat(name_, ": in use, as a disk or elsewhere"));
  }
  if (S_ISBLK(about.st_mode)) return absl::OkStatus();
  return ftruncate(descriptor_, 0) == 0 ? absl::OkStatus() : refused(name_, errno);
}

absl::Status OutputFile::state() const {
  return output_.broken() ? refused(name_, output_.error()) : absl::OkStatus();
}

absl::Status OutputFile::finish() {
  output_.flush();
  return state();
}

}  // namespace vmrun

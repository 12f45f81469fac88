#include "tools/vmmem/policy_output.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>

#include <fmt/format.h>

#include "vm_mem/copy_policy.h"

namespace vmmem {
namespace {

absl::Status failed(const std::string& path) {
  return absl::UnavailableError(fmt::format("{}: {}", path, std::strerror(errno)));
}

bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t wrote = write(descriptor, text.data(), text.size());
    if (wrote < 0 && errno != EINTR) return false;
    if (wrote > 0) text.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return true;
}

// What a new file would get; mkstemp() gives less.
mode_t usual_mode() {
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

}  // namespace

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder;
}

absl::Status check_replaceable(const std::string& path) {
  if (access(folder_of(path).c_str(), W_OK | X_OK) != 0) return failed(path);
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return errno == ENOENT ? absl::OkStatus() : failed(path);
  if (S_ISREG(status.st_mode) && status.st_size == 0) return absl::OkStatus();
  std::string first;
  if (S_ISREG(status.st_mode)) {
    std::ifstream file(path);
    std::getline(file, first);
  }
  if (first == vm_mem::kCopyPolicyHeader) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("{}: exists and is no policy file; not overwritten", path));
}

absl::Status write_policy_file(const std::string& path, const std::string& text) {
  absl::Status replaceable = check_replaceable(path);
  if (!replaceable.ok()) return replaceable;
  std::string temporary = path + ".XXXXXX";
  const int descriptor = mkstemp(temporary.data());
  if (descriptor < 0) return failed(path);
  const bool written = write_all(descriptor, text) && fchmod(descriptor, usual_mode()) == 0 &&
                       fsync(descriptor) == 0;
  const bool renamed = written && rename(temporary.c_str(), path.c_str()) == 0;
  absl::Status status = renamed ? absl::OkStatus() : failed(path);
  close(descriptor);
  if (!renamed) unlink(temporary.c_str());
  return status;
}

}  // namespace vmmem

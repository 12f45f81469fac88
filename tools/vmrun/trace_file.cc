#include "tools/vmrun/trace_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmrun {
namespace {

constexpr mode_t kMode = 0644;

absl::Status refused(const std::string& path, int error) {
  return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(error)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TraceFile>> TraceFile::open(std::string path, TraceKinds kinds) {
  int descriptor = STDERR_FILENO;
  if (path == "-") {
    path = "the trace on standard error";
  } else {
    descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kMode);
    if (descriptor < 0) return refused(path, errno);
  }
  return std::unique_ptr<TraceFile>(new TraceFile(std::move(path), descriptor, kinds));
}

TraceFile::TraceFile(std::string path, int descriptor, TraceKinds kinds)
    : path_(std::move(path)),
      descriptor_(descriptor),
      output_(descriptor),
      trace_(output_, kinds) {}

TraceFile::~TraceFile() {
  output_.flush();
  if (descriptor_ != STDERR_FILENO) close(descriptor_);
}

absl::Status TraceFile::state() const {
  return output_.broken() ? refused(path_, output_.error()) : absl::OkStatus();
}

absl::Status TraceFile::finish() {
  output_.flush();
  return state();
}

}  // namespace vmrun

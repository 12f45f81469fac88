#include "vm_mem/internal/lazy_questions.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_format.h"

namespace vm_mem::internal {

absl::StatusOr<LazyMail> LazyMail::make() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    return absl::ResourceExhaustedError(absl::StrFormat("pipe2 failed: errno %d", errno));
  }
  return LazyMail(HostFd(ends[0]), HostFd(ends[1]));
}

bool LazyMail::post(LazyQuestion* question) const {
  while (::write(in_.get(), &question, sizeof question) != sizeof question) {
    if (errno != EINTR) return false;
  }
  return true;
}

bool LazyMail::take(LazyQuestion*& question) const {
  while (::read(out_.get(), &question, sizeof question) != sizeof question) {
    if (errno != EINTR) return false;
  }
  return true;
}

}  // namespace vm_mem::internal

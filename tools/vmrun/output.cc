#include "tools/vmrun/output.h"

#include <unistd.h>

#include <cerrno>

namespace vmrun {

namespace {
constexpr std::size_t kFlushBytes = 4096;
}

void Output::put(char byte) {
  pending_.push_back(byte);
  last_ = byte;
  if (pending_.size() >= kFlushBytes) flush();
}

void Output::put(std::string_view text) {
  for (const char byte : text) put(byte);
}

void Output::flush() {
  std::size_t done = 0;
  while (done < pending_.size() && !broken_) {
    const ssize_t wrote = write(descriptor_, pending_.data() + done, pending_.size() - done);
    if (wrote > 0) done += static_cast<std::size_t>(wrote);
    broken_ = wrote < 0 && errno != EINTR && errno != EAGAIN;
  }
  pending_.clear();
}

}  // namespace vmrun

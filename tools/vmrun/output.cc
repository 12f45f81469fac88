#include "tools/vmrun/output.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "tools/command_line/signals.h"

namespace vmrun {

namespace {
// A pipe that poll() calls writable takes so much at once.
constexpr std::size_t kFlushBytes = 4096;
constexpr int kLookAroundMs = 50;
constexpr std::string_view kEraseLine = "\r\x1b[K";

// What a terminal shows in one line, which is all that erasing one takes away.
std::string_view cut(std::string_view line, int terminal) {
  winsize size{};
  if (ioctl(terminal, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return line;
  return line.substr(0, size.ws_col - std::size_t{1});
}
}  // namespace

void Output::put(char byte) {
  pending_.push_back(byte);
  last_ = byte;
  ++bytes_put_;
  if (pending_.size() >= kFlushBytes) flush();
}

void Output::put(std::string_view text) {
  for (const char byte : text) put(byte);
}

void Output::flush() {
  if (pending_.empty()) return;
  if (has_status_) pending_.insert(0, kEraseLine);
  has_status_ = false;
  write_pending();
}

void Output::show_status(std::string_view line) {
  flush();
  pending_ = kEraseLine;
  pending_ += cut(line, descriptor_);
  has_status_ = true;
  write_pending();
}

void Output::clear_status() {
  if (!has_status_) return;
  pending_.insert(0, kEraseLine);
  has_status_ = false;
  write_pending();
}

void Output::write_pending() {
  std::size_t done = 0;
  while (done < pending_.size() && !broken_) {
    if (!wait_for_room()) {
      fail(EPIPE);
      break;
    }
    const ssize_t wrote = write(descriptor_, pending_.data() + done, pending_.size() - done);
    if (wrote > 0) done += static_cast<std::size_t>(wrote);
    if (wrote < 0 && errno != EINTR && errno != EAGAIN) fail(errno);
  }
  pending_.clear();
}

void Output::fail(int error) {
  broken_ = true;
  error_ = error;
}

// A plain write() would wait for ever, past the timeout and any signal.
bool Output::wait_for_room() const {
  pollfd poll_set{.fd = descriptor_, .events = POLLOUT, .revents = 0};
  while (poll(&poll_set, 1, kLookAroundMs) <= 0) {
    if (waited_enough()) return false;
  }
  return true;
}

bool Output::waited_enough() const {
  return command_line::noted_signal() != 0 ||
         (deadline_ && std::chrono::steady_clock::now() >= *deadline_);
}

}  // namespace vmrun

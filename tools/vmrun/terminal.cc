#include "tools/vmrun/terminal.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace vmrun {
namespace {

constexpr char kControlA = 1;
constexpr std::size_t kReadBytes = 256;

bool readable(int descriptor, std::chrono::milliseconds limit) {
  pollfd poll_set{.fd = descriptor, .events = POLLIN, .revents = 0};
  return poll(&poll_set, 1, static_cast<int>(limit.count())) > 0;
}

}  // namespace

RawMode::RawMode(int descriptor) : descriptor_(descriptor) {
  if (isatty(descriptor) == 0 || tcgetattr(descriptor, &saved_) != 0) return;
  termios raw = saved_;
  cfmakeraw(&raw);
  raw.c_oflag = saved_.c_oflag;  // line feeds of our own messages stay line ends
  active_ = tcsetattr(descriptor, TCSANOW, &raw) == 0;
}

RawMode::~RawMode() {
  if (active_) tcsetattr(descriptor_, TCSAFLUSH, &saved_);
}

PeerState Terminal::state() const {
  if (quit_) return PeerState::kQuit;
  return closed_ && next_ == read_.size() ? PeerState::kClosed : PeerState::kOpen;
}

void Terminal::fill() {
  if (closed_ || !readable(descriptor_, std::chrono::milliseconds(0))) return;
  char buffer[kReadBytes];
  const ssize_t got = read(descriptor_, buffer, sizeof buffer);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  closed_ = got <= 0;
  read_.assign(buffer, got > 0 ? static_cast<std::size_t>(got) : 0);
  next_ = 0;
}

std::optional<char> Terminal::say() {
  if (next_ == read_.size()) fill();
  while (next_ < read_.size() && !quit_) {
    if (const auto byte = filter(read_[next_++])) return byte;
  }
  return std::nullopt;
}

std::optional<char> Terminal::filter(char byte) {
  if (!raw_.active()) return byte;
  if (!escape_) {
    escape_ = byte == kControlA;
    return escape_ ? std::nullopt : std::optional<char>(byte);
  }
  escape_ = false;
  quit_ = byte == 'x' || byte == 'X';
  return byte == kControlA ? std::optional<char>(byte) : std::nullopt;
}

void Terminal::wait(std::chrono::milliseconds limit) {
  if (next_ == read_.size()) readable(descriptor_, limit);
}

}  // namespace vmrun

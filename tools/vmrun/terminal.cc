#include "tools/vmrun/terminal.h"

#include <unistd.h>

#include <cerrno>

#include "tools/vmrun/wait.h"

namespace vmrun {
namespace {

constexpr char kControlA = 1;
constexpr std::size_t kReadBytes = 256;
constexpr std::size_t kReadAhead = 65536;

bool readable(int descriptor, std::chrono::milliseconds limit) {
  pollfd poll_set{.fd = descriptor, .events = POLLIN, .revents = 0};
  return wait_for(std::span(&poll_set, 1), limit);
}

}  // namespace

RawMode::RawMode(int descriptor) : descriptor_(descriptor) {
  if (isatty(descriptor) == 0 || tcgetattr(descriptor, &saved_) != 0) return;
  termios raw = saved_;
  cfmakeraw(&raw);
  raw.c_oflag = saved_.c_oflag;  // line feeds of our own messages stay line ends
  active_ = tcsetattr(descriptor, TCSANOW, &raw) == 0;
  if (active_) in_force_ = this;
}

constinit std::atomic<const RawMode*> RawMode::in_force_{nullptr};

void RawMode::give_back() {
  const RawMode* const mode = in_force_.exchange(nullptr);
  if (mode != nullptr) tcsetattr(mode->descriptor_, TCSANOW, &mode->saved_);
}

RawMode::~RawMode() {
  if (active_) in_force_ = nullptr;
  if (active_) tcsetattr(descriptor_, TCSAFLUSH, &saved_);
}

PeerState Terminal::state() const {
  if (quit_) return PeerState::kQuit;
  return closed_ && typed_.empty() ? PeerState::kClosed : PeerState::kOpen;
}

void Terminal::attend() {
  if (closed_ || typed_.size() >= kReadAhead) return;
  if (!readable(descriptor_, std::chrono::milliseconds(0))) return;
  char buffer[kReadBytes];
  const ssize_t got = read(descriptor_, buffer, sizeof buffer);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  closed_ = got <= 0;
  for (ssize_t i = 0; i < got; ++i) accept(buffer[i]);
}

void Terminal::accept(char byte) {
  if (!raw_.active() || (!escape_ && byte != kControlA)) {
    typed_.push_back(byte);
    return;
  }
  if (!escape_) {
    escape_ = true;
    return;
  }
  escape_ = false;
  if (byte == 'x' || byte == 'X') quit_ = true;
  if (byte == kControlA) typed_.push_back(byte);
}

std::optional<char> Terminal::say() {
  if (typed_.empty()) return std::nullopt;
  const char byte = typed_.front();
  typed_.pop_front();
  return byte;
}

void Terminal::wait(std::chrono::milliseconds limit) {
  if (typed_.empty()) readable(descriptor_, limit);
}

}  // namespace vmrun

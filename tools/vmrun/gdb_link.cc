#include "tools/vmrun/gdb_link.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace vmrun {
namespace {

// What an event costs besides its bytes.
constexpr std::size_t kEventBytes = sizeof(GdbEvent);
// Of a packet that is too long: E2BIG.
constexpr std::string_view kTooLong = "E07";

bool would_wait(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

GdbLink::GdbLink(int socket) : socket_(socket) {
  fcntl(socket_, F_SETFL, fcntl(socket_, F_GETFL) | O_NONBLOCK);
}

GdbLink::~GdbLink() {
  flush();
  close(socket_);
}

short GdbLink::wanted() const {
  int events = is_congested() ? 0 : POLLIN;
  if (!out_.empty()) events |= POLLOUT;
  return static_cast<short>(events);
}

void GdbLink::receive() {
  std::array<char, 4096> buffer;
  for (std::size_t taken = 0; taken < kMostAtOnce && open_ && !is_congested();) {
    const ssize_t got = recv(socket_, buffer.data(), buffer.size(), 0);
    if (got < 0 && would_wait(errno)) return;
    if (got <= 0) open_ = false;
    if (got <= 0) return;
    taken += static_cast<std::size_t>(got);
    take_in(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
  }
}

void GdbLink::take_in(std::string_view bytes) {
  while (auto event = reader_.take(bytes)) {
    spoken_ = spoken_ || event->kind == GdbEventKind::kPacket;
    queued_ += kEventBytes + event->payload.size();
    events_.push_back(*std::move(event));
  }
}

std::optional<std::string> GdbLink::next_packet() {
  while (!events_.empty() && out_.size() <= kMostPending) {
    GdbEvent event = std::move(events_.front());
    events_.pop_front();
    queued_ -= kEventBytes + event.payload.size();
    if (event.kind == GdbEventKind::kInterrupt) continue;
    const bool good = event.kind == GdbEventKind::kPacket || event.kind == GdbEventKind::kOverlong;
    if (event.kind == GdbEventKind::kResend) {
      out_ += acks_ ? last_ : "";
    } else if (acks_) {
      out_.push_back(good ? '+' : '-');
    }
    if (event.kind == GdbEventKind::kOverlong) send(kTooLong);
    if (event.kind == GdbEventKind::kPacket) return std::move(event.payload);
  }
  return std::nullopt;
}

bool GdbLink::take_interrupt() {
  const auto found = std::find_if(events_.begin(), events_.end(), [](const GdbEvent& event) {
    return event.kind == GdbEventKind::kInterrupt;
  });
  if (found == events_.end()) return false;
  queued_ -= kEventBytes;
  events_.erase(found);
  return true;
}

void GdbLink::send(std::string_view payload) {
  last_ = gdb_frame(payload);
  out_ += last_;
}

void GdbLink::flush() {
  while (open_ && !out_.empty()) {
    const ssize_t sent = ::send(socket_, out_.data(), out_.size(), MSG_NOSIGNAL);
    if (sent < 0 && would_wait(errno)) return;
    if (sent < 0) open_ = false;
    if (sent > 0) out_.erase(0, static_cast<std::size_t>(sent));
  }
}

}  // namespace vmrun

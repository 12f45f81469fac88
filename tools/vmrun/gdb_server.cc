#include "tools/vmrun/gdb_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"

namespace vmrun {
namespace {

constexpr int kBacklog = 4;

absl::Status refused(std::uint16_t port, int error) {
  return absl::UnavailableError(
      absl::StrFormat("--gdb %d: 127.0.0.1:%d: %s", port, port, std::strerror(error)));
}

void set_option(int socket, int level, int option) {
  const int on = 1;
  setsockopt(socket, level, option, &on, sizeof on);
}

// The descriptor; below 0: an errno.
int listen_on(std::uint16_t port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener < 0) return -errno;
  set_option(listener, SOL_SOCKET, SO_REUSEADDR);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto* const generic = reinterpret_cast<const sockaddr*>(&address);
  if (bind(listener, generic, sizeof address) == 0 && ::listen(listener, kBacklog) == 0) {
    return listener;
  }
  const int error = errno;
  close(listener);
  return -error;
}

std::uint16_t port_of(int listener) {
  sockaddr_in address{};
  socklen_t bytes = sizeof address;
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &bytes);
  return ntohs(address.sin_port);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GdbServer>> GdbServer::listen(std::uint16_t port, Machine& machine) {
  const int listener = listen_on(port);
  if (listener < 0) return refused(port, -listener);
  std::unique_ptr<GdbServer> server(new GdbServer(machine));
  server->listener_ = listener;
  server->port_ = port_of(listener);
  return server;
}

GdbServer::GdbServer(Machine& machine, int client)
    : stub_(machine), link_(std::make_unique<GdbLink>(client)) {}

GdbServer::~GdbServer() {
  if (listener_ >= 0) close(listener_);
}

bool GdbServer::is_held() const {
  return stub_.state() == GdbState::kStopped || stub_.state() == GdbState::kKilled;
}

GdbTurn GdbServer::attend(std::chrono::milliseconds limit) {
  wait(is_held() ? limit : std::chrono::milliseconds(0));
  accept_client();
  serve();
  if (stub_.state() == GdbState::kKilled) return GdbTurn::kEnd;
  return is_held() ? GdbTurn::kHold : GdbTurn::kRun;
}

void GdbServer::wait(std::chrono::milliseconds limit) const {
  // Descriptors below 0 are passed over.
  std::array<pollfd, 2> set{{{listener_, POLLIN, 0}, {-1, 0, 0}}};
  if (link_ != nullptr) set[1] = {link_->socket(), link_->wanted(), 0};
  poll(set.data(), set.size(), static_cast<int>(limit.count()));
}

// Who comes second is told at once.
void GdbServer::accept_client() {
  if (listener_ < 0) return;
  const int client = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (client < 0) return;
  if (link_ != nullptr) {
    close(client);
    return;
  }
  set_option(client, IPPROTO_TCP, TCP_NODELAY);
  link_ = std::make_unique<GdbLink>(client);
}

// Packets that come while the machine runs are answered when it has stopped.
void GdbServer::serve() {
  if (link_ == nullptr) return;
  link_->flush();
  link_->receive();
  if (!greeted_ && link_->has_spoken()) {
    greeted_ = true;
    stub_.reset();
  }
  while (greeted_ && serve_next()) {
  }
  link_->flush();
  if (leaves()) lose_client();
}

// False: there is nothing to do now.
bool GdbServer::serve_next() {
  if (is_running()) {
    if (!link_->take_interrupt()) return false;
    link_->send(stub_.note_interrupt());
  }
  if (stub_.state() != GdbState::kStopped) return false;
  const auto packet = link_->next_packet();
  if (!packet) return false;
  if (const auto answer = stub_.answer(*packet)) link_->send(*answer);
  if (stub_.wants_no_acks()) link_->stop_acks();
  return true;
}

// One that says so much while nothing but Ctrl-C is for it to say would never be seen to leave.
bool GdbServer::leaves() const {
  if (!link_->is_open() || (is_running() && link_->is_full())) return true;
  return greeted_ && stub_.state() == GdbState::kDetached;
}

void GdbServer::lose_client() {
  link_.reset();
  if (std::exchange(greeted_, false) && stub_.state() != GdbState::kKilled) stub_.let_go();
}

bool GdbServer::note_stop(StopReason reason) {
  if (!has_debugger() || !is_running()) return false;
  if (reason != StopReason::kBreakpoint && reason != StopReason::kTrapLoop) return false;
  link_->send(reason == StopReason::kBreakpoint ? stub_.note_breakpoint() : stub_.note_trap_loop());
  link_->flush();
  return true;
}

bool GdbServer::note_stuck() {
  if (!has_debugger() || !is_running()) return false;
  link_->send(stub_.note_stuck());
  link_->flush();
  return true;
}

void GdbServer::note_end(int status) {
  if (!has_debugger() || !is_running()) return;
  link_->send(stub_.note_end(status));
  link_->flush();
}

}  // namespace vmrun

#include "tools/vmblkd/listener.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace vmblkd {
namespace {

// Front ends that have connected and wait for the one before.
constexpr int kMostWaiting = 16;

absl::Status failed(const std::string& path, int error) {
  const std::string text = fmt::format("{}: {}", path, std::strerror(error));
  if (error == EACCES || error == EPERM || error == EROFS) return absl::PermissionDeniedError(text);
  return absl::UnavailableError(text);
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// One that a process which is gone has left behind.
absl::Status remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat about = {};
  if (::lstat(path.c_str(), &about) != 0) {
    return errno == ENOENT ? absl::OkStatus() : failed(path, errno);
  }
  if (!S_ISSOCK(about.st_mode)) {
    return absl::InvalidArgumentError(path + ": something that is no socket is there");
  }
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return failed(path, errno);
  const int error = ::connect(probe, generic(address), sizeof address) == 0 ? 0 : errno;
  ::close(probe);
  if (error == 0 || error == EAGAIN) {
    return absl::AlreadyExistsError(path + ": another process listens there");
  }
  if (error != ECONNREFUSED) return failed(path, error);
  return ::unlink(path.c_str()) == 0 ? absl::OkStatus() : failed(path, errno);
}

// Under another name first, so that who finds the socket can connect; 0 or an errno.
int listen_at(int socket, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string early = path + "~";
  const bool renames = early.size() < sizeof address.sun_path;
  const std::string& name = renames ? early : path;
  std::memcpy(address.sun_path, name.data(), name.size());
  if (renames) ::unlink(early.c_str());
  if (::bind(socket, generic(address), sizeof address) != 0) return errno;
  const bool listens = ::listen(socket, kMostWaiting) == 0 &&
                       (!renames || ::rename(early.c_str(), path.c_str()) == 0);
  if (listens) return 0;
  const int error = errno;
  ::unlink(name.c_str());
  return error;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::make(int socket, std::string path,
                                                         bool is_connected) {
  const int stop_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  std::unique_ptr<Listener> made(new Listener(socket, stop_fd, std::move(path), is_connected));
  if (stop_fd < 0) return failed("eventfd", errno);
  struct stat about = {};
  if (!made->path_.empty() && ::lstat(made->path_.c_str(), &about) == 0) {
    made->device_ = about.st_dev;
    made->inode_ = about.st_ino;
  }
  return made;
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::create(const std::string& path) {
  sockaddr_un address{};
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} characters, but the path of a socket has at most {}", path, path.size(),
                    sizeof address.sun_path - 1));
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (const absl::Status stale = remove_stale(path, address); !stale.ok()) return stale;
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket < 0) return failed(path, errno);
  if (const int error = listen_at(socket, path); error != 0) {
    ::close(socket);
    return failed(path, error);
  }
  return make(socket, path, false);
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::adopt(int fd) {
  int listens = 0;
  socklen_t bytes = sizeof listens;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) != 0) {
    return absl::InvalidArgumentError(fmt::format("fd {}: {}", fd, std::strerror(errno)));
  }
  sockaddr_un peer{};
  bytes = sizeof peer;
  if (listens == 0 && ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &bytes) != 0) {
    return absl::InvalidArgumentError(fmt::format("fd {}: neither listens nor is connected", fd));
  }
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (listens != 0) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  return make(fd, "", listens == 0);
}

Listener::~Listener() {
  if (socket_ >= 0) ::close(socket_);
  if (stop_fd_ >= 0) ::close(stop_fd_);
  struct stat about = {};
  const bool is_ours = !path_.empty() && ::lstat(path_.c_str(), &about) == 0 &&
                       about.st_dev == device_ && about.st_ino == inode_;
  if (is_ours) ::unlink(path_.c_str());
}

std::optional<int> Listener::accept() {
  if (is_connected_) {
    if (socket_ < 0) return std::nullopt;
    return std::exchange(socket_, -1);
  }
  for (;;) {
    std::array<pollfd, 2> wanted{{{socket_, POLLIN, 0}, {stop_fd_, POLLIN, 0}}};
    if (::poll(wanted.data(), wanted.size(), -1) < 0 && errno != EINTR) return std::nullopt;
    if (wanted[1].revents != 0) return std::nullopt;
    const int connection = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection >= 0) return connection;
    // A front end that has gone again, or no descriptor for it: the next one may do.
    if (errno == EMFILE || errno == ENFILE) ::poll(nullptr, 0, 100);
  }
}

void Listener::stop() {
  constexpr std::uint64_t kOne = 1;
  static_cast<void>(!::write(stop_fd_, &kOne, sizeof kOne));
}

}  // namespace vmblkd

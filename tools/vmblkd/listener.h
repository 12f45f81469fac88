// Where front ends connect: a Unix stream socket.
#ifndef VMBLKD_LISTENER_H_
#define VMBLKD_LISTENER_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace vmblkd {

class Listener {
 public:
  // Makes the socket; one that nobody listens at any more is replaced.
  //
  // Errors:  each message begins with the path.
  //          kInvalidArgument    too long, or something that is no socket is there
  //          kAlreadyExists      somebody listens there
  //          kPermissionDenied   the host does not let us
  //          kUnavailable        anything else
  static absl::StatusOr<std::unique_ptr<Listener>> create(const std::string& path);
  // A descriptor that listens or is connected, which is taken over.
  // Errors:  kInvalidArgument: it is neither.
  static absl::StatusOr<std::unique_ptr<Listener>> adopt(int fd);

  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // Removes the socket that it has made, if it is still there.
  ~Listener();

  // A connection, which is the caller's. Nothing: stop() was called, or there is no further one.
  std::optional<int> accept();
  // Ends accept(), this one and later ones. Any thread, and signal handlers.
  void stop();

 private:
  Listener(int socket, int stop_fd, std::string path, bool is_connected)
      : socket_(socket), stop_fd_(stop_fd), path_(std::move(path)), is_connected_(is_connected) {}
  static absl::StatusOr<std::unique_ptr<Listener>> make(int socket, std::string path,
                                                        bool is_connected);

  int socket_;
  int stop_fd_;
  std::string path_;  // empty: nothing to remove
  dev_t device_ = 0;  // of what was made there
  ino_t inode_ = 0;
  bool is_connected_;  // the socket is the one connection
};

}  // namespace vmblkd

#endif  // VMBLKD_LISTENER_H_

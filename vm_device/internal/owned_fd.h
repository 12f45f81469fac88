// A descriptor that is closed with its object.
#ifndef VM_DEVICE_INTERNAL_OWNED_FD_H_
#define VM_DEVICE_INTERNAL_OWNED_FD_H_

#include <unistd.h>

#include <utility>

namespace vm_device::internal {

class OwnedFd {
 public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    if (this != &other) {
      close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~OwnedFd() { close(); }

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  // The caller's from here on.
  int release() { return std::exchange(fd_, -1); }

 private:
  void close() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_OWNED_FD_H_

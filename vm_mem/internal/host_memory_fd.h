// Owns a file descriptor.
#ifndef VM_MEM_INTERNAL_HOST_MEMORY_FD_H_
#define VM_MEM_INTERNAL_HOST_MEMORY_FD_H_

#include <unistd.h>

#include <utility>

namespace vm_mem::internal {

class HostFd {
 public:
  explicit HostFd(int fd) : fd_(fd) {}
  HostFd(HostFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  HostFd& operator=(HostFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~HostFd() {
    if (fd_ >= 0) ::close(fd_);
  }

  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_HOST_MEMORY_FD_H_

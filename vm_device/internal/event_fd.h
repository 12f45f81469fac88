// Eventfds: descriptors by which one thread or process calls another.
#ifndef VM_DEVICE_INTERNAL_EVENT_FD_H_
#define VM_DEVICE_INTERNAL_EVENT_FD_H_

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "vm_device/internal/owned_fd.h"

namespace vm_device::internal {

// One that nobody waits at for ever. Where the host has none left it is not open, and errno says
// why.
inline OwnedFd make_event_fd() { return OwnedFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

// Who does not read an eventfd that is full has been called already.
inline void signal_event(int fd) {
  constexpr std::uint64_t kOne = 1;
  static_cast<void>(!::write(fd, &kOne, sizeof kOne));
}

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_EVENT_FD_H_

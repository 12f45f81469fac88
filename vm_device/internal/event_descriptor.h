// The one owner of an eventfd.
#ifndef VM_DEVICE_INTERNAL_EVENT_DESCRIPTOR_H_
#define VM_DEVICE_INTERNAL_EVENT_DESCRIPTOR_H_

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

namespace vm_device::internal {

class EventDescriptor {
 public:
  // Where the host has none left get() is below 0, and errno says why.
  EventDescriptor() : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  EventDescriptor(EventDescriptor&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)) {}
  EventDescriptor& operator=(EventDescriptor&&) = delete;
  ~EventDescriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_EVENT_DESCRIPTOR_H_

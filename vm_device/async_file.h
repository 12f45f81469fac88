// A place in a file of the host's.
#ifndef VM_DEVICE_ASYNC_FILE_H_
#define VM_DEVICE_ASYNC_FILE_H_

#include <cstdint>

namespace vm_device {

// Of a file that can seek: a regular file, a block device. A negative descriptor is none.
struct AsyncFile {
  int descriptor = -1;
  std::uint64_t offset = 0;
};

}  // namespace vm_device

#endif  // VM_DEVICE_ASYNC_FILE_H_

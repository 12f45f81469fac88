// A place in a file of the host's.
#ifndef VM_DEVICE_ASYNC_FILE_H_
#define VM_DEVICE_ASYNC_FILE_H_

#include <cstdint>

namespace vm_device {

// Where a file's bytes are. What is in memory (tmpfs) is copied by the thread that asks for it: to
// hand a short copy to another one takes longer.
enum class FileHome : std::uint8_t { kAnywhere, kMemory };

// Of a file that can seek: a regular file, a block device. A negative descriptor is none.
struct AsyncFile {
  int descriptor = -1;
  std::uint64_t offset = 0;
  FileHome home = FileHome::kAnywhere;
};

}  // namespace vm_device

#endif  // VM_DEVICE_ASYNC_FILE_H_

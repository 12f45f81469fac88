// System calls on files that the kernel makes beside this process: io_uring.
#ifndef VM_DEVICE_INTERNAL_FILE_RING_H_
#define VM_DEVICE_INTERNAL_FILE_RING_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "vm_device/internal/file_op.h"

namespace vm_device::internal {

class AsyncRequest;

class FileRing {
 public:
  struct Completion {
    AsyncRequest* request = nullptr;
    std::int64_t result = 0;  // bytes, or -errno
  };

  virtual ~FileRing() = default;

  // Any thread. Does at once what takes no wait: bytes, or 0 where nothing is known to be so.
  virtual std::int64_t try_now(const FileOp& op) = 0;
  // Any thread. What `op` points to stays as it is until the completion.
  virtual void push(const FileOp& op, AsyncRequest& request) = 0;
  // Any thread: what was pushed is with the kernel when it returns.
  virtual void flush() = 0;
  // One thread. Waits for one completion at least. 0: stop() was called.
  virtual std::size_t wait(std::span<Completion> out) = 0;
  // Needs:  nothing is in flight.
  virtual void stop() = 0;
};

// Of a build without liburing: never.
//
// Errors:  kUnimplemented  the kernel or this build has none; errno in the text
absl::StatusOr<std::unique_ptr<FileRing>> make_file_ring(std::uint32_t entries);

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_FILE_RING_H_

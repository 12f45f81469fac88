// The threads of AsyncDma, and who does what: workers copy and, without a ring, wait for
// files; the ring's thread carries on what the kernel has done.
#ifndef VM_DEVICE_INTERNAL_ASYNC_ENGINE_H_
#define VM_DEVICE_INTERNAL_ASYNC_ENGINE_H_

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "vm_device/internal/async_queue.h"
#include "vm_device/internal/file_op.h"
#include "vm_device/internal/file_ring.h"
#include "vm_device/internal/owned_fd.h"

namespace vm_device::internal {

class AsyncEngine {
 public:
  // `ring` may be null: then the workers make `calls`.
  AsyncEngine(const AsyncDmaOptions& options, std::unique_ptr<FileRing> ring,
              std::unique_ptr<FileCalls> calls, OwnedFd descriptor);
  AsyncEngine(const AsyncEngine&) = delete;
  AsyncEngine& operator=(const AsyncEngine&) = delete;
  ~AsyncEngine();

  // Errors:  kResourceExhausted: not all threads can be had.
  absl::Status start(std::uint32_t workers);

  AsyncQueue& queue() { return queue_; }
  bool has_ring() const { return ring_ != nullptr; }
  int descriptor() const { return descriptor_.get(); }

  void submit(AsyncRequest& request);

 private:
  void work();
  void reap();
  void carry_on(AsyncRequest& request);

  const OwnedFd descriptor_;
  const std::unique_ptr<FileRing> ring_;
  const std::unique_ptr<FileCalls> calls_;
  AsyncQueue queue_;
  std::vector<std::thread> workers_;
  std::thread reaper_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_ASYNC_ENGINE_H_

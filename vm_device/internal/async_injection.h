// For tests: what the host's calls on files return.
#ifndef VM_DEVICE_INTERNAL_ASYNC_INJECTION_H_
#define VM_DEVICE_INTERNAL_ASYNC_INJECTION_H_

#include <memory>
#include <utility>

#include "vm_device/async_dma.h"
#include "vm_device/internal/file_op.h"

namespace vm_device::internal {

// AsyncDma whose threads make `calls`. With io_uring they are not used.
class AsyncInjection {
 public:
  static absl::StatusOr<std::unique_ptr<AsyncDma>> create(AsyncDmaOptions options,
                                                          std::unique_ptr<FileCalls> calls) {
    return AsyncDma::create(options, std::move(calls));
  }
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_ASYNC_INJECTION_H_

// In place of file_ring_uring.cc where liburing is absent.
#include "vm_device/internal/file_ring.h"

namespace vm_device::internal {

absl::StatusOr<std::unique_ptr<FileRing>> make_file_ring(std::uint32_t) {
  return absl::UnimplementedError("this build has no io_uring: liburing was not found");
}

}  // namespace vm_device::internal

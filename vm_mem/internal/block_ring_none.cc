// In place of block_ring_uring.cc where liburing is absent.
#include "vm_mem/internal/block_ring.h"

namespace vm_mem::internal {

absl::StatusOr<std::unique_ptr<BlockRing>> make_uring_blocks(std::uint32_t, std::span<std::byte>) {
  return absl::UnimplementedError("this build has no io_uring: liburing was not found");
}

}  // namespace vm_mem::internal

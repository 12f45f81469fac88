// Reads and writes of blocks that go on beside the caller: by io_uring, or by threads.
#ifndef VM_MEM_INTERNAL_BLOCK_RING_H_
#define VM_MEM_INTERNAL_BLOCK_RING_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "vm_mem/internal/file_calls.h"

namespace vm_mem::internal {

struct BlockJob {
  enum class Kind : std::uint8_t { kRead, kWrite };

  Kind kind = Kind::kRead;
  int fd = -1;
  std::span<std::byte> bytes;  // stay as they are until the job is done
  std::uint64_t offset = 0;
  std::uint32_t tag = 0;
};

struct BlockDone {
  std::uint32_t tag = 0;
  std::int64_t result = 0;  // bytes, fewer than asked for perhaps, or -errno
};

// For one thread. Destruction needs that nothing is under way.
class BlockRing {
 public:
  virtual ~BlockRing() = default;

  // Needs:  no more than `depth` jobs at a time.
  virtual void start(const BlockJob& job) noexcept = 0;
  // Waits for one, whichever it is.  Needs:  one is under way.
  virtual BlockDone wait() noexcept = 0;
};

// Needs:  `staging` is where the jobs' bytes lie.
// Errors:  kUnimplemented  the kernel or this build has none; errno in the text
absl::StatusOr<std::unique_ptr<BlockRing>> make_uring_blocks(std::uint32_t depth,
                                                             std::span<std::byte> staging);

// Needs:  `calls` outlives it.
// Errors:  kResourceExhausted  the host starts no thread
absl::StatusOr<std::unique_ptr<BlockRing>> make_thread_blocks(FileCalls& calls, std::uint32_t depth,
                                                              unsigned threads);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_BLOCK_RING_H_

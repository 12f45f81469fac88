// A circle of staging blocks between memory and files: several are under way while the
// caller fills or empties another. Blocks come back in the order in which they were started.
#ifndef VM_MEM_INTERNAL_BLOCK_PIPE_H_
#define VM_MEM_INTERNAL_BLOCK_PIPE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_mem/host_mapping.h"
#include "vm_mem/internal/block_ring.h"
#include "vm_mem/snapshot_info.h"

namespace vm_mem::internal {

// For one thread.
class BlockPipe {
 public:
  static constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
  static constexpr std::size_t kDepth = 8;

  // The first way from `io` on that the host has.
  static absl::StatusOr<std::unique_ptr<BlockPipe>> make(FileCalls& calls, SnapshotIo io);

  BlockPipe(const BlockPipe&) = delete;
  BlockPipe& operator=(const BlockPipe&) = delete;
  ~BlockPipe();  // waits for what is under way

  SnapshotIo io() const { return io_; }
  bool is_full() const { return started_ - finished_ == kDepth; }
  bool is_idle() const { return started_ == finished_; }

  // The block to fill before start(). Needs:  not is_full().
  std::span<std::byte> next();
  // Reads into it from its beginning, or writes what it begins with. What is not done at once
  // is done by further jobs; a file system that refuses O_DIRECT is asked without.
  //
  // Units:  multiples of 4096.
  // Needs:  not is_full(); `file` stays as it is until the block is finished.
  void start(BlockJob::Kind kind, OpenFile& file, std::uint64_t offset, std::size_t bytes);
  // Waits for the oldest. Its bytes are good until start() takes the block again.
  //
  // Needs:   not is_idle().
  // Errors:  those of read_exactly() and write_exactly(), of this block
  absl::StatusOr<std::span<std::byte>> finish_oldest();
  // All of them; the first error.
  absl::Status finish_all();

 private:
  struct Slot {
    BlockJob job;
    OpenFile* file = nullptr;
    std::size_t bytes = 0;
    bool direct = false;  // was started past the page cache
    bool done = false;
    int error = 0;  // errno; 0 of a read that is not done: the file has ended
  };

  BlockPipe(HostMapping staging, std::unique_ptr<BlockRing> ring, SnapshotIo io);
  std::span<std::byte> block(std::size_t number) const;
  // Both fail in no way: what is under way is waited for even where memory is short.
  void wait_for_oldest() noexcept;
  static bool may_go_on(Slot& slot, std::int64_t result) noexcept;
  static absl::Status status_of(const Slot& slot);

  HostMapping staging_;
  std::unique_ptr<BlockRing> ring_;  // goes before staging_
  SnapshotIo io_;
  std::array<Slot, kDepth> slots_;
  std::uint64_t started_ = 0;
  std::uint64_t finished_ = 0;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_BLOCK_PIPE_H_

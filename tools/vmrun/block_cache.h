// Decoded blocks by the address of their first instruction.
#ifndef VMRUN_BLOCK_CACHE_H_
#define VMRUN_BLOCK_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tools/vmrun/block.h"
#include "vm_engine/code_fetcher.h"

namespace vmrun {

// What a block holds was true when it was decoded, and stays so until flush(): as the
// manual has it, stores become visible to fetches at FENCE.I. The owner flushes when
// the memory map changes, too.
class BlockCache {
 public:
  static constexpr std::size_t kSlots = 4096;
  static constexpr std::size_t kMaxBlockOps = 64;

  explicit BlockCache(vm_engine::CodeFetcher fetcher) : fetcher_(fetcher), blocks_(kSlots) {}

  // Never empty: where nothing can be fetched, the block raises the fault. Valid until
  // the next call.
  const Block& find(std::uint64_t pc) {
    Block& block = blocks_[(pc >> 1) % kSlots];
    if (block.pc != pc || block.epoch != epoch_) [[unlikely]]
      fill(block, pc);
    return block;
  }

  void flush() { ++epoch_; }

 private:
  void fill(Block& block, std::uint64_t pc);

  vm_engine::CodeFetcher fetcher_;
  std::vector<Block> blocks_;
  std::uint64_t epoch_ = 1;
};

}  // namespace vmrun

#endif  // VMRUN_BLOCK_CACHE_H_

// Decoded blocks by the address of their first instruction.
#ifndef VMRUN_BLOCK_CACHE_H_
#define VMRUN_BLOCK_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tools/vmrun/block.h"
#include "tools/vmrun/breakpoints.h"
#include "vm_engine/code_fetcher.h"

namespace vmrun {

// What a block holds was true when it was decoded, and stays so until flush(): as the
// manual has it, stores become visible to fetches at FENCE.I. The owner flushes when
// the memory map changes, too. Blocks are of host memory, so that they outlive changes of
// the guest's page tables; whether a page may be executed is asked of the soft TLB each time.
class BlockCache {
 public:
  static constexpr std::size_t kSlots = 4096;
  static constexpr std::size_t kMaxBlockOps = 64;
  static constexpr std::uint64_t kPageBytes = std::uint64_t{1} << VME_PAGE_BITS;

  // Needs:  `cpu` outlives this object.
  explicit BlockCache(vme_cpu& cpu) : cpu_(&cpu), fetcher_(cpu), blocks_(kSlots) {}

  // Of blocks that are decoded from here on.
  void set_loop_mode(LoopMode mode) { loop_mode_ = mode; }

  // What fetch_mode() says of the hart.
  void set_mode(unsigned mmu_mode) {
    mode_ = mmu_mode;
    fetcher_.set_mmu_mode(mmu_mode);
  }

  // Where in host memory the code at `pc` is; 0 where none can be fetched.
  std::uint64_t host_of(std::uint64_t pc) {
    const vme_tlb& tlb = cpu_->tlb[mode_];
    const std::uint64_t index = ((pc >> VME_TLB_INDEX_SHIFT) & tlb.mask) / VME_TLB_ENTRY_BYTES;
    const vme_tlb_entry& entry = tlb.table[index];
    if (entry.execute == (pc & ~(kPageBytes - 1))) [[likely]]
      return pc + entry.addend;
    return find_host(pc);
  }

  // Never empty: where nothing can be fetched, the block raises the fault. Valid until
  // the next call.
  const Block& find(std::uint64_t pc) {
    const std::uint64_t host = host_of(pc);
    Block& block = blocks_[(host >> 1) % kSlots];
    if (block.host != host || block.pc != pc || block.epoch != epoch_ || host == 0) [[unlikely]]
      fill(block, pc, host, kMaxBlockOps);
    return block;
  }
  // The same from what memory holds now.
  const Block& decode_anew(std::uint64_t pc) {
    const std::uint64_t host = host_of(pc);
    Block& block = blocks_[(host >> 1) % kSlots];
    fill(block, pc, host, kMaxBlockOps);
    return block;
  }

  void flush() { ++epoch_; }
  // Another one after each flush().
  std::uint64_t epoch() const { return epoch_; }

  // Blocks end before these. Needs: flush() after a change; null, or it outlives this object.
  void set_breakpoints(const Breakpoints* breakpoints) { breakpoints_ = breakpoints; }
  // The instruction at `pc` alone, breakpoint or not. Valid until the next call.
  const Block& single(std::uint64_t pc) {
    fill(single_, pc, host_of(pc), 1);
    return single_;
  }

 private:
  std::uint64_t find_host(std::uint64_t pc);
  void fill(Block& block, std::uint64_t pc, std::uint64_t host, std::size_t most_ops);
  void decode_into(Block& block, std::size_t most_ops);
  bool may_be_loop(const Block& block) const;
  bool must_close(const Block& block, std::uint64_t at, std::size_t most_ops) const;

  vme_cpu* cpu_;
  unsigned mode_ = 0;
  LoopMode loop_mode_ = LoopMode::kRecognised;
  vm_engine::CodeFetcher fetcher_;
  std::vector<Block> blocks_;
  std::uint64_t epoch_ = 1;
  const Breakpoints* breakpoints_ = nullptr;
  Block single_;
};

}  // namespace vmrun

#endif  // VMRUN_BLOCK_CACHE_H_

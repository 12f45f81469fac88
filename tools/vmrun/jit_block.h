// One translated block and the jumps out of it.
#ifndef VMRUN_JIT_BLOCK_H_
#define VMRUN_JIT_BLOCK_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "tools/vmrun/block.h"
#include "vm_engine/translation.h"
#include "vm_engine/vm_engine.h"

namespace vmrun {

struct JitBlock;
struct JitJump;

inline constexpr std::uint64_t kJitPageBytes = std::uint64_t{1} << VME_PAGE_BITS;

// A jump to a guest address that is known: to `cold`, which asks for the block, until it
// is made to go there. Offsets count from the beginning of the code memory.
struct JitLink {
  JitBlock* owner = nullptr;
  std::uint64_t target = 0;
  std::size_t field = 0;  // of the displacement, 4 bytes
  std::size_t cold = 0;
  JitBlock* to = nullptr;
};

// What translated code depends on besides the guest's code.
struct JitRegime {
  unsigned fetch_mode = 0;
  unsigned data_mode = 0;

  friend constexpr bool operator==(JitRegime, JitRegime) = default;
};

// Its address is known to its code.
struct JitBlock {
  std::uint64_t pc = 0;
  JitRegime regime;
  std::uint64_t host = 0;  // where its first instruction is
  // Where the second half of that is, which the next page has; 0: it has not.
  std::uint64_t host_behind = 0;
  std::vector<BlockOp> ops;
  std::shared_ptr<const Loop> loop;  // null where it is none
  std::size_t begin = 0;             // of all that belongs to it
  std::size_t entry = 0;
  std::size_t end = 0;
  std::array<JitLink, 2> links;
  std::size_t link_count = 0;
  std::vector<JitLink*> incoming;
  JitJump* jump = nullptr;  // where indirect jumps look for it
  vme_translation watched{};
  std::vector<std::uint64_t> pages;  // of memory that it was made from, as JitBlocks has them
  vme_code* sites = nullptr;
};

}  // namespace vmrun

#endif  // VMRUN_JIT_BLOCK_H_

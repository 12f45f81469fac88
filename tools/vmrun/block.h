// A run of decoded instructions that is executed from its first to its last, each
// bound to the function that executes it.
#ifndef VMRUN_BLOCK_H_
#define VMRUN_BLOCK_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "tools/vmrun/decoded_op.h"

namespace vmrun {

class Hart;
struct BlockOp;
struct Loop;

// How an instruction ended.
enum class Flow : std::uint8_t {
  kNext,  // go on with the one after it in the block
  kJump,  // retired; the hart's pc says where to go on
  kWait,  // retired; as kJump, but the hart waits for an interrupt
  kTrap,  // not retired: an exception is pending, the hart's pc is at it
};

using Handler = Flow (*)(Hart& hart, const BlockOp& op);

// An instruction, ready to run. rd is kSink where the instruction names x0 as
// its destination.
struct BlockOp {
  Handler run = nullptr;
  std::uint64_t pc = 0;
  std::int32_t imm = 0;
  std::uint32_t raw = 0;
  std::uint8_t rd = 0;
  std::uint8_t rs1 = 0;
  std::uint8_t rs2 = 0;
  std::uint8_t rs3 = 0;
  std::uint8_t rm = 0;
  std::uint8_t bytes = 0;
  std::uint16_t index = 0;  // in its block
};

// Whether loops that copy or fill memory are looked for.
enum class LoopMode : std::uint8_t { kRecognised, kPlain };

// The last op never gives kNext.
struct Block {
  std::uint64_t pc = 0;
  std::uint64_t host = 0;   // where its first instruction is
  std::uint64_t epoch = 0;  // valid while it is the cache's; 0: decoded each time
  std::vector<BlockOp> ops;
  std::shared_ptr<const Loop> loop;  // null where it is none

  // Whether one page holds all of it, and no fetch failed.
  bool lasts() const { return epoch != 0; }
};

}  // namespace vmrun

#endif  // VMRUN_BLOCK_H_

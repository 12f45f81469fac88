// Loops of the guest's that copy or fill memory: found in decoded blocks, and many iterations
// of them done at once by the engine's helpers.
//
// What is found is a block that ends in a branch to its own beginning and consists of loads,
// stores and sums with constants or other registers: what compilers make of byte and word
// loops, unrolled ones too. It stays in the block cache as it is. A Loop beside it says what n
// iterations of it do to registers and memory.
#ifndef VMRUN_LOOP_H_
#define VMRUN_LOOP_H_

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tools/vmrun/block.h"
#include "tools/vmrun/hart_memory.h"

namespace vmrun {

// A sum of what two registers hold when an iteration begins and a constant, modulo 2^64. x0
// stands for none.
struct LoopValue {
  std::uint8_t first = 0;
  std::uint8_t second = 0;
  std::uint64_t constant = 0;

  std::uint64_t of(const std::array<std::uint64_t, 33>& x) const {
    return x[first] + x[second] + constant;
  }
  friend constexpr bool operator==(const LoopValue&, const LoopValue&) = default;
};

enum class LoopTest : std::uint8_t {
  kDiffers,    // goes on while `moving` is not `fixed`
  kBefore,     // has not reached it
  kNotBeyond,  // has not passed it
};

// The branch, by the values that it compares in the first iteration.
struct LoopBranch {
  LoopTest test = LoopTest::kDiffers;
  LoopValue moving;
  LoopValue fixed;
  std::int64_t step = 0;   // of `moving`, by iteration
  std::uint64_t bias = 0;  // added to both, they are ordered as unsigned numbers

  std::uint64_t step_size() const {
    const auto unsigned_step = static_cast<std::uint64_t>(step);
    return step < 0 ? std::uint64_t{0} - unsigned_step : unsigned_step;
  }
  // Iterations from here on after which it is taken for sure.
  std::uint64_t iterations(const std::array<std::uint64_t, 33>& x) const;
};

// What a register holds after an iteration.
struct LoopWrite {
  enum class Kind : std::uint8_t { kSum, kLoaded };
  Kind kind = Kind::kSum;
  std::uint8_t rd = 0;
  LoopValue sum;                // after the first iteration
  std::uint64_t step = 0;       // of the sum
  std::uint64_t offset = 0;     // of what was loaded, where it was stored: from `destination`
  std::uint8_t log2_bytes = 0;  // of what was loaded
  bool is_signed = false;
};

enum class LoopKind : std::uint8_t { kCopy, kFill };

struct Loop {
  LoopKind kind = LoopKind::kCopy;
  ByteOrder order = ByteOrder::kAscending;
  LoopValue source;         // the lowest byte that the first iteration loads
  LoopValue destination;    // that it stores
  LoopValue pattern;        // of a fill
  std::uint64_t bytes = 0;  // of one iteration, without a gap, and the distance to the next
  std::uint32_t elements = 0;
  std::uint8_t log2_element = 0;  // where there are several: 0 for a copy
  LoopBranch branch;
  std::vector<LoopWrite> writes;
  std::uint32_t instructions = 0;

  // Iterations to go before run_loop() is worth a call again, as it could do none: on devices,
  // in pages of watched code. Of the one hart that executes it.
  mutable std::uint32_t rest = 0;
  mutable std::uint32_t longest_rest = 0;
  bool is_resting() const { return rest != 0 && rest-- != 0; }
};

// Null where the block is none.
// Needs:  `ops` is a block that ends in a branch to its own beginning.
std::shared_ptr<const Loop> recognise_loop(std::span<const BlockOp> ops);

// Does as many iterations as the branch is taken after, as the hart may still execute and as
// plain memory is there for that nobody watches, 64 KiB at most, as far as a page goes where
// exit_request is set, and often none: the hart's pc is at the loop's
// beginning before and after. Registers, memory and clock are then as after so many
// iterations.
void run_loop(Hart& hart, const Loop& loop);

}  // namespace vmrun

#endif  // VMRUN_LOOP_H_

// Bulk copies. The registers say what is left to do, and nothing else does: an execution moves
// a piece, advances them and retires, and pc stays at it while some is left, so that
// interrupts are looked at in between. A fault leaves them at the byte that cannot be reached.
// docs/vmrun.md has the semantics, byte by byte.

#include <algorithm>

#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart.h"

namespace vmrun {
namespace {

// What an execution moves in one direction at most.
constexpr std::uint64_t kPieceBytes = 64 << 10;

struct Operands {
  Operands(Hart& hart, const BlockOp& op)
      : destination(hart.state().x[op.rd]),
        source(hart.state().x[op.rs1]),
        count(hart.state().x[op.rs2]) {}

  std::uint64_t piece() const { return std::min(count, kPieceBytes); }

  std::uint64_t& destination;
  std::uint64_t& source;  // a fill's value
  std::uint64_t& count;
};

Flow raise_fault(Hart& hart, const BlockOp& op) {
  const vme_fault& fault = hart.memory().fault();
  return hart.raise_access(
      op, static_cast<vme_rc>(fault.rc),
      fault.access == VME_ACCESS_WRITE ? AccessKind::kStore : AccessKind::kLoad);
}

Flow go_on(Hart& hart, const BlockOp& op, std::uint64_t count) {
  if (count == 0) return Flow::kNext;
  hart.state().pc = op.pc;
  return Flow::kJump;
}

Flow copy_up(Hart& hart, const BlockOp& op) {
  const Operands on(hart, op);
  const std::uint64_t piece = on.piece();
  const std::uint64_t left =
      hart.memory().copy(on.destination, on.source, piece, ByteOrder::kAscending);
  on.destination += piece - left;
  on.source += piece - left;
  on.count -= piece - left;
  return left == 0 ? go_on(hart, op, on.count) : raise_fault(hart, op);
}

// The addresses are those behind the last byte.
Flow copy_down(Hart& hart, const BlockOp& op) {
  const Operands on(hart, op);
  const std::uint64_t piece = on.piece();
  const std::uint64_t left =
      hart.memory().copy(on.destination - piece, on.source - piece, piece, ByteOrder::kDescending);
  on.destination -= piece - left;
  on.source -= piece - left;
  on.count -= piece - left;
  return left == 0 ? go_on(hart, op, on.count) : raise_fault(hart, op);
}

// While an ascending copy would overwrite what it has yet to read, the last byte is the next
// one. That state can be read off the registers at any time, so that the direction needs no
// register of its own.
Flow move(Hart& hart, const BlockOp& op) {
  const Operands on(hart, op);
  const std::uint64_t ahead = on.destination - on.source;
  if (ahead == 0 || ahead >= on.count) return copy_up(hart, op);
  const std::uint64_t piece = std::min(on.count - ahead, kPieceBytes);
  const std::uint64_t at = on.count - piece;
  const std::uint64_t left =
      hart.memory().copy(on.destination + at, on.source + at, piece, ByteOrder::kDescending);
  on.count -= piece - left;
  if (left != 0) return raise_fault(hart, op);
  return on.count == ahead ? copy_up(hart, op) : go_on(hart, op, on.count);
}

Flow set(Hart& hart, const BlockOp& op) {
  const Operands on(hart, op);
  const std::uint64_t piece = on.piece();
  const std::uint64_t left =
      hart.memory().fill(on.destination, static_cast<std::uint8_t>(on.source), piece);
  on.destination += piece - left;
  on.count -= piece - left;
  return left == 0 ? go_on(hart, op, on.count) : raise_fault(hart, op);
}

}  // namespace

Handler bulk_handler(Op op) {
  switch (op) {
    case Op::kVmCpy: return move;
    case Op::kVmCpyf: return copy_up;
    case Op::kVmCpyb: return copy_down;
    case Op::kVmSet: return set;
    default: return nullptr;
  }
}

}  // namespace vmrun

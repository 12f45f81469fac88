// Bulk copies, in the R format of custom-0:
//
//   31      25 24  20 19  15 14  12 11   7 6       0
//   | 0000000 | count |  src | variant | dst | 0001011 |

#include <array>

#include "tools/vmrun/decode.h"
#include "tools/vmrun/decode_fields.h"

namespace vmrun {
namespace {

constexpr Op kNone = Op::kIllegal;
constexpr std::array<Op, 8> kVariants{Op::kVmCpy, Op::kVmCpyf, Op::kVmCpyb, Op::kVmSet,
                                      kNone,      kNone,       kNone,       kNone};

// What is written cannot be x0, and no two of them can be one register; the value of a fill
// is only read.
bool has_registers_of_its_own(const DecodedOp& op) {
  const bool sets = op.op == Op::kVmSet;
  if (op.rd == 0 || op.rs2 == 0 || (op.rs1 == 0 && !sets)) return false;
  return op.rd != op.rs1 && op.rd != op.rs2 && op.rs1 != op.rs2;
}

}  // namespace

DecodedOp decode_bulk(std::uint32_t raw) {
  const Op op = funct7(raw) == 0 ? kVariants[funct3(raw)] : kNone;
  const DecodedOp out = make(op, raw, kRd | kRs1 | kRs2, 0);
  return has_registers_of_its_own(out) ? out : make(kNone, raw, 0, 0);
}

}  // namespace vmrun

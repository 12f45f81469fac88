// F and D. What cannot be done because the unit is off, or because there is no such
// rounding mode, is an illegal instruction.
// Source: RISC-V Unprivileged ISA 20191213, chapters 11 and 12.

#include <type_traits>

#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart.h"
#include "tools/vmrun/soft_float.h"

namespace vmrun {
namespace {

using Single = std::uint32_t;
using Double = std::uint64_t;

constexpr std::uint64_t kBox = 0xffff'ffff'0000'0000;

// A register that holds no boxed single is read as a NaN.
template <typename Bits>
Bits read(const HartState& state, unsigned index) {
  const std::uint64_t value = state.f[index];
  if constexpr (sizeof(Bits) == sizeof(Single)) {
    return value >= kBox ? static_cast<Single>(value) : kFloatNan<Single>;
  }
  return static_cast<Bits>(value);
}

template <typename Bits>
void write(HartState& state, unsigned index, Bits value) {
  state.f[index] = sizeof(Bits) == sizeof(Single) ? kBox | value : value;
  state.csrs.mstatus |= kMstatusFs;
}

bool is_on(const HartState& state) { return (state.csrs.mstatus & kMstatusFs) != 0; }

using Body = void (*)(HartState&, const BlockOp&, FloatContext&);

template <Body kBody>
Flow compute(Hart& hart, const BlockOp& op) {
  HartState& state = hart.state();
  const unsigned rounding = op.rm == kDynamicRounding ? state.csrs.frm : op.rm;
  if (!is_on(state) || rounding > static_cast<unsigned>(Rounding::kNearestAway)) {
    return illegal(hart, op);
  }
  FloatContext context{.rounding = static_cast<Rounding>(rounding)};
  kBody(state, op, context);
  if (context.flags != 0) {
    state.csrs.fflags |= context.flags;
    state.csrs.mstatus |= kMstatusFs;
  }
  return Flow::kNext;
}

template <typename Bits, Bits (*kFunction)(Bits, Bits, FloatContext&)>
void binary(HartState& state, const BlockOp& op, FloatContext& context) {
  write(state, op.rd, kFunction(read<Bits>(state, op.rs1), read<Bits>(state, op.rs2), context));
}

template <typename Bits>
void square_root(HartState& state, const BlockOp& op, FloatContext& context) {
  write(state, op.rd, float_square_root(read<Bits>(state, op.rs1), context));
}

enum class Sign : std::uint8_t { kKept, kChanged };

// a * b + c, with signs of the product and of c changed first.
template <typename Bits, Sign kProduct, Sign kAddend>
void fused(HartState& state, const BlockOp& op, FloatContext& context) {
  const auto with = [](Sign sign, Bits value) {
    return sign == Sign::kChanged ? value ^ kFloatSign<Bits> : value;
  };
  write(state, op.rd,
        float_multiply_add(with(kProduct, read<Bits>(state, op.rs1)), read<Bits>(state, op.rs2),
                           with(kAddend, read<Bits>(state, op.rs3)), context));
}

template <typename Bits>
Bits take_sign(Bits, Bits b, FloatContext&) {
  return b;
}
template <typename Bits>
Bits take_other_sign(Bits, Bits b, FloatContext&) {
  return ~b;
}
template <typename Bits>
Bits change_sign(Bits a, Bits b, FloatContext&) {
  return a ^ b;
}

template <typename Bits, Bits (*kSign)(Bits, Bits, FloatContext&)>
Bits inject(Bits a, Bits b, FloatContext& context) {
  return static_cast<Bits>((a & ~kFloatSign<Bits>) | (kSign(a, b, context) & kFloatSign<Bits>));
}

template <typename Bits, bool (*kFunction)(Bits, Bits, FloatContext&)>
void compare(HartState& state, const BlockOp& op, FloatContext& context) {
  const bool result = kFunction(read<Bits>(state, op.rs1), read<Bits>(state, op.rs2), context);
  state.x[op.rd] = result ? 1 : 0;
}

template <typename Bits>
void classify(HartState& state, const BlockOp& op, FloatContext&) {
  state.x[op.rd] = float_class(read<Bits>(state, op.rs1));
}

// Words are sign-extended, unsigned ones too.
template <typename Bits, typename Integer>
void to_integer(HartState& state, const BlockOp& op, FloatContext& context) {
  const auto value = float_to_integer<Integer>(read<Bits>(state, op.rs1), context);
  using Signed = std::make_signed_t<Integer>;
  state.x[op.rd] = static_cast<std::uint64_t>(std::int64_t{static_cast<Signed>(value)});
}

template <typename Bits, typename Integer>
void from_integer(HartState& state, const BlockOp& op, FloatContext& context) {
  write(state, op.rd, float_from_integer<Bits>(static_cast<Integer>(state.x[op.rs1]), context));
}

void widen(HartState& state, const BlockOp& op, FloatContext& context) {
  write(state, op.rd, float_widen(read<Single>(state, op.rs1), context));
}
void narrow(HartState& state, const BlockOp& op, FloatContext& context) {
  write(state, op.rd, float_narrow(read<Double>(state, op.rs1), context));
}

template <typename Bits>
void move_from_integer(HartState& state, const BlockOp& op, FloatContext&) {
  write(state, op.rd, static_cast<Bits>(state.x[op.rs1]));
}

// Boxed or not.
template <typename Bits>
void move_to_integer(HartState& state, const BlockOp& op, FloatContext&) {
  using Signed = std::make_signed_t<Bits>;
  const auto value = static_cast<Signed>(static_cast<Bits>(state.f[op.rs1]));
  state.x[op.rd] = static_cast<std::uint64_t>(std::int64_t{value});
}

template <typename Bits>
Flow load(Hart& hart, const BlockOp& op) {
  HartState& state = hart.state();
  if (!is_on(state)) return illegal(hart, op);
  Bits value{};
  const vme_rc rc = hart.memory().load(effective_address(state, op), value);
  if (rc != VME_OK) return hart.raise_access(op, rc, AccessKind::kLoad);
  write(state, op.rd, value);
  return Flow::kNext;
}

template <typename Bits>
Flow store(Hart& hart, const BlockOp& op) {
  const HartState& state = hart.state();
  if (!is_on(state)) return illegal(hart, op);
  const vme_rc rc =
      hart.memory().store(effective_address(state, op), static_cast<Bits>(state.f[op.rs2]));
  if (rc != VME_OK) return hart.raise_access(op, rc, AccessKind::kStore);
  return Flow::kNext;
}

// By the number of the operation among those on singles: the same table for both formats.
template <typename Bits>
Handler arithmetic(Op single) {
  switch (single) {
    case Op::kFmaddS: return compute<fused<Bits, Sign::kKept, Sign::kKept>>;
    case Op::kFmsubS: return compute<fused<Bits, Sign::kKept, Sign::kChanged>>;
    case Op::kFnmsubS: return compute<fused<Bits, Sign::kChanged, Sign::kKept>>;
    case Op::kFnmaddS: return compute<fused<Bits, Sign::kChanged, Sign::kChanged>>;
    case Op::kFaddS: return compute<binary<Bits, float_add<Bits>>>;
    case Op::kFsubS: return compute<binary<Bits, float_subtract<Bits>>>;
    case Op::kFmulS: return compute<binary<Bits, float_multiply<Bits>>>;
    case Op::kFdivS: return compute<binary<Bits, float_divide<Bits>>>;
    case Op::kFsqrtS: return compute<square_root<Bits>>;
    case Op::kFsgnjS: return compute<binary<Bits, inject<Bits, take_sign<Bits>>>>;
    case Op::kFsgnjnS: return compute<binary<Bits, inject<Bits, take_other_sign<Bits>>>>;
    case Op::kFsgnjxS: return compute<binary<Bits, inject<Bits, change_sign<Bits>>>>;
    case Op::kFminS: return compute<binary<Bits, float_minimum<Bits>>>;
    case Op::kFmaxS: return compute<binary<Bits, float_maximum<Bits>>>;
    default: return nullptr;
  }
}

template <typename Bits>
Handler conversion(Op single) {
  switch (single) {
    case Op::kFcvtSW: return compute<from_integer<Bits, std::int32_t>>;
    case Op::kFcvtSWu: return compute<from_integer<Bits, std::uint32_t>>;
    case Op::kFcvtSL: return compute<from_integer<Bits, std::int64_t>>;
    case Op::kFcvtSLu: return compute<from_integer<Bits, std::uint64_t>>;
    case Op::kFcvtWS: return compute<to_integer<Bits, std::int32_t>>;
    case Op::kFcvtWuS: return compute<to_integer<Bits, std::uint32_t>>;
    case Op::kFcvtLS: return compute<to_integer<Bits, std::int64_t>>;
    case Op::kFcvtLuS: return compute<to_integer<Bits, std::uint64_t>>;
    case Op::kFeqS: return compute<compare<Bits, float_equal<Bits>>>;
    case Op::kFltS: return compute<compare<Bits, float_less<Bits>>>;
    case Op::kFleS: return compute<compare<Bits, float_less_or_equal<Bits>>>;
    case Op::kFclassS: return compute<classify<Bits>>;
    case Op::kFmvWX: return compute<move_from_integer<Bits>>;
    case Op::kFmvXW: return compute<move_to_integer<Bits>>;
    case Op::kFlw: return load<Bits>;
    case Op::kFsw: return store<Bits>;
    default: return arithmetic<Bits>(single);
  }
}

bool within(Op op, Op first, Op last) { return op >= first && op <= last; }

Op as_single(Op op, Op first_double, Op first_single) {
  return static_cast<Op>(static_cast<int>(op) - static_cast<int>(first_double) +
                         static_cast<int>(first_single));
}

}  // namespace

Handler float_handler(Op op) {
  if (op == Op::kFcvtSD) return compute<narrow>;
  if (op == Op::kFcvtDS) return compute<widen>;
  if (within(op, Op::kFld, Op::kFmvDX)) {
    return conversion<Double>(as_single(op, Op::kFld, Op::kFlw));
  }
  if (within(op, Op::kFsd, Op::kFmvXD)) {
    return conversion<Double>(as_single(op, Op::kFsd, Op::kFsw));
  }
  return conversion<Single>(op);
}

}  // namespace vmrun

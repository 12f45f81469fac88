// The M extension. Division by zero and overflow give the values of the manual's
// table 7.1; nothing traps.

#include <limits>

#include "tools/vmrun/register_function.h"

namespace vmrun {
namespace {

__extension__ typedef __int128 Wide;
__extension__ typedef unsigned __int128 WideUnsigned;

constexpr std::int32_t sign32(Word value) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(value));
}
constexpr Word widen(std::int64_t value) { return static_cast<Word>(value); }

constexpr Word mul(Word a, Word b) { return a * b; }
constexpr Word mulh(Word a, Word b) {
  return static_cast<Word>((Wide{sign(a)} * Wide{sign(b)}) >> 64);
}
constexpr Word mulhsu(Word a, Word b) {
  return static_cast<Word>((Wide{sign(a)} * static_cast<Wide>(b)) >> 64);
}
constexpr Word mulhu(Word a, Word b) {
  return static_cast<Word>((WideUnsigned{a} * WideUnsigned{b}) >> 64);
}

template <typename T>
constexpr T quotient(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if constexpr (std::numeric_limits<T>::is_signed) {
    if (a == std::numeric_limits<T>::min() && b == -1) return a;
  }
  return a / b;
}

template <typename T>
constexpr T remainder(T a, T b) {
  if (b == 0) return a;
  if constexpr (std::numeric_limits<T>::is_signed) {
    if (b == -1) return 0;
  }
  return a % b;
}

constexpr Word div(Word a, Word b) { return widen(quotient(sign(a), sign(b))); }
constexpr Word divu(Word a, Word b) { return quotient(a, b); }
constexpr Word rem(Word a, Word b) { return widen(remainder(sign(a), sign(b))); }
constexpr Word remu(Word a, Word b) { return remainder(a, b); }
constexpr Word mulw(Word a, Word b) { return extend(static_cast<std::uint32_t>(a * b)); }
constexpr Word divw(Word a, Word b) { return widen(quotient(sign32(a), sign32(b))); }
constexpr Word divuw(Word a, Word b) {
  return extend(quotient(static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(b)));
}
constexpr Word remw(Word a, Word b) { return widen(remainder(sign32(a), sign32(b))); }
constexpr Word remuw(Word a, Word b) {
  return extend(remainder(static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(b)));
}

}  // namespace

Handler muldiv_handler(Op op) {
  switch (op) {
    case Op::kMul: return registers<mul>;
    case Op::kMulh: return registers<mulh>;
    case Op::kMulhsu: return registers<mulhsu>;
    case Op::kMulhu: return registers<mulhu>;
    case Op::kDiv: return registers<div>;
    case Op::kDivu: return registers<divu>;
    case Op::kRem: return registers<rem>;
    case Op::kRemu: return registers<remu>;
    case Op::kMulw: return registers<mulw>;
    case Op::kDivw: return registers<divw>;
    case Op::kDivuw: return registers<divuw>;
    case Op::kRemw: return registers<remw>;
    case Op::kRemuw: return registers<remuw>;
    default: return nullptr;
  }
}

}  // namespace vmrun

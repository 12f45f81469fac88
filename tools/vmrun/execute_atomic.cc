// The A extension. Every operation is sequentially consistent, whatever its aq and rl
// bits ask for. SC succeeds while the value that LR found is still there: a write of
// the same value in between goes unnoticed.

#include <type_traits>

#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart.h"

namespace vmrun {
namespace {

template <typename T>
std::uint64_t extend(T value) {
  return static_cast<std::uint64_t>(
      static_cast<std::int64_t>(static_cast<std::make_signed_t<T>>(value)));
}

template <typename T>
Flow load_reserved(Hart& hart, const BlockOp& op) {
  HartState& state = hart.state();
  const std::uint64_t address = state.x[op.rs1];
  if (address % sizeof(T) != 0) return hart.raise(op, Cause::kLoadMisaligned, address);
  T value{};
  const vme_rc rc = hart.memory().load(address, value);
  if (rc != VME_OK) return hart.raise_access(op, rc, AccessKind::kLoad);
  state.reservation = {.address = address, .value = value, .bytes = sizeof(T)};
  state.x[op.rd] = extend(value);
  return Flow::kNext;
}

template <typename T>
Flow store_conditional(Hart& hart, const BlockOp& op) {
  HartState& state = hart.state();
  const std::uint64_t address = state.x[op.rs1];
  if (address % sizeof(T) != 0) return hart.raise(op, Cause::kStoreMisaligned, address);
  const Reservation reservation = state.reservation;
  state.reservation = {};
  bool exchanged = false;
  if (reservation.bytes == sizeof(T) && reservation.address == address) {
    const vme_rc rc = hart.memory().compare_exchange(address, static_cast<T>(reservation.value),
                                                     static_cast<T>(state.x[op.rs2]), exchanged);
    if (rc != VME_OK) return hart.raise_access(op, rc, AccessKind::kStore);
  }
  state.x[op.rd] = exchanged ? 0 : 1;
  return Flow::kNext;
}

template <typename T>
constexpr bool less(T a, T b) {
  return static_cast<std::make_signed_t<T>>(a) < static_cast<std::make_signed_t<T>>(b);
}
template <typename T>
constexpr T swap(T, T operand) {
  return operand;
}
template <typename T>
constexpr T add(T memory, T operand) {
  return static_cast<T>(memory + operand);
}
template <typename T>
constexpr T bit_xor(T memory, T operand) {
  return memory ^ operand;
}
template <typename T>
constexpr T bit_and(T memory, T operand) {
  return memory & operand;
}
template <typename T>
constexpr T bit_or(T memory, T operand) {
  return memory | operand;
}
template <typename T>
constexpr T min(T memory, T operand) {
  return less(operand, memory) ? operand : memory;
}
template <typename T>
constexpr T max(T memory, T operand) {
  return less(memory, operand) ? operand : memory;
}
template <typename T>
constexpr T minu(T memory, T operand) {
  return operand < memory ? operand : memory;
}
template <typename T>
constexpr T maxu(T memory, T operand) {
  return memory < operand ? operand : memory;
}

template <typename T, T (*kChange)(T, T)>
Flow amo(Hart& hart, const BlockOp& op) {
  HartState& state = hart.state();
  const std::uint64_t address = state.x[op.rs1];
  if (address % sizeof(T) != 0) return hart.raise(op, Cause::kStoreMisaligned, address);
  const T operand = static_cast<T>(state.x[op.rs2]);
  T previous{};
  const vme_rc rc = hart.memory().update(
      address, [operand](T memory) { return kChange(memory, operand); }, previous);
  if (rc != VME_OK) return hart.raise_access(op, rc, AccessKind::kStore);
  state.x[op.rd] = extend(previous);
  return Flow::kNext;
}

using Word = std::uint32_t;
using Double = std::uint64_t;

Handler double_handler(Op op) {
  switch (op) {
    case Op::kLrD: return load_reserved<Double>;
    case Op::kScD: return store_conditional<Double>;
    case Op::kAmoswapD: return amo<Double, swap<Double>>;
    case Op::kAmoaddD: return amo<Double, add<Double>>;
    case Op::kAmoxorD: return amo<Double, bit_xor<Double>>;
    case Op::kAmoandD: return amo<Double, bit_and<Double>>;
    case Op::kAmoorD: return amo<Double, bit_or<Double>>;
    case Op::kAmominD: return amo<Double, min<Double>>;
    case Op::kAmomaxD: return amo<Double, max<Double>>;
    case Op::kAmominuD: return amo<Double, minu<Double>>;
    case Op::kAmomaxuD: return amo<Double, maxu<Double>>;
    default: return nullptr;
  }
}

}  // namespace

Handler atomic_handler(Op op) {
  switch (op) {
    case Op::kLrW: return load_reserved<Word>;
    case Op::kScW: return store_conditional<Word>;
    case Op::kAmoswapW: return amo<Word, swap<Word>>;
    case Op::kAmoaddW: return amo<Word, add<Word>>;
    case Op::kAmoxorW: return amo<Word, bit_xor<Word>>;
    case Op::kAmoandW: return amo<Word, bit_and<Word>>;
    case Op::kAmoorW: return amo<Word, bit_or<Word>>;
    case Op::kAmominW: return amo<Word, min<Word>>;
    case Op::kAmomaxW: return amo<Word, max<Word>>;
    case Op::kAmominuW: return amo<Word, minu<Word>>;
    case Op::kAmomaxuW: return amo<Word, maxu<Word>>;
    default: return double_handler(op);
  }
}

}  // namespace vmrun

// Loads and stores, of any alignment.

#include <type_traits>

#include "tools/vmrun/execute.h"
#include "tools/vmrun/hart.h"

namespace vmrun {
namespace {

// T says by its sign whether the value is sign- or zero-extended.
template <typename T>
Flow load(Hart& hart, const BlockOp& op) {
  HartState& state = hart.state();
  T value{};
  const vme_rc rc = hart.memory().load(effective_address(state, op), value);
  if (rc != VME_OK) [[unlikely]]
    return hart.raise_access(op, rc, AccessKind::kLoad);
  using Extended = std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>;
  state.x[op.rd] = static_cast<std::uint64_t>(static_cast<Extended>(value));
  return Flow::kNext;
}

template <typename T>
Flow store(Hart& hart, const BlockOp& op) {
  const HartState& state = hart.state();
  const vme_rc rc =
      hart.memory().store(effective_address(state, op), static_cast<T>(state.x[op.rs2]));
  if (rc != VME_OK) [[unlikely]]
    return hart.raise_access(op, rc, AccessKind::kStore);
  return Flow::kNext;
}

}  // namespace

Handler memory_handler(Op op) {
  switch (op) {
    case Op::kLb: return load<std::int8_t>;
    case Op::kLh: return load<std::int16_t>;
    case Op::kLw: return load<std::int32_t>;
    case Op::kLd: return load<std::uint64_t>;
    case Op::kLbu: return load<std::uint8_t>;
    case Op::kLhu: return load<std::uint16_t>;
    case Op::kLwu: return load<std::uint32_t>;
    case Op::kSb: return store<std::uint8_t>;
    case Op::kSh: return store<std::uint16_t>;
    case Op::kSw: return store<std::uint32_t>;
    case Op::kSd: return store<std::uint64_t>;
    default: return nullptr;
  }
}

}  // namespace vmrun

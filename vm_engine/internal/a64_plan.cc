// Which form a size takes on AArch64.
#include <algorithm>
#include <bit>

#include "vm_engine/internal/a64_copy_code.h"
#include "vm_engine/internal/a64_pieces.h"
#include "vm_engine/vm_engine.h"

namespace vm_engine::internal::aarch64 {
namespace {

// Flags under which code that does all or nothing is what the helper would have done.
constexpr std::uint32_t kModes = 0xff << VME_MMU_SRC_SHIFT;
constexpr std::uint32_t kElement = 7u << VME_ELEM_SHIFT;
constexpr std::uint32_t kWhole = kModes | kElement | VME_OVERLAP_DISJOINT | VME_POLL | VME_NO_MMIO;
// A hit in the soft TLB cannot stop half way; what may fault can.
constexpr std::uint32_t kWholeOnHit = kWhole | VME_BACKWARD | VME_ATOMIC_OR_NOTHING | VME_ONCE;

bool flags_allow(const EmitConfig& config, std::uint64_t bytes) {
  const std::uint32_t allowed = has_sites(config) ? kWhole : kWholeOnHit;
  const bool overlaps = bytes > 16 && bytes % 16 != 0;
  if ((config.flags & VME_ONCE) != 0 && overlaps) return false;
  return (config.flags & ~allowed) == 0 && is_whole_elements(config, bytes);
}

bool may_call_stubs(const EmitConfig& config) {
  return config.stubs != nullptr && (config.stubs->changes & ~config.scratch) == 0 &&
         (config.stubs->changes_vectors & ~config.scratch_vectors) == 0;
}

bool vectors_suffice(const EmitConfig& config, unsigned wanted) {
  return wanted <= static_cast<unsigned>(std::popcount(config.scratch_vectors));
}

// To find the memory of one operand, and to keep it while that of the next is found.
unsigned registers_for(const EmitConfig& config, unsigned operands) {
  if (config.address_mode == AddressMode::kSoftTlb) return 2 + operands;
  return operands + (config.gva_bits > config.arena_bits ? 1 : 0);
}

Plan plan_guest(const EmitConfig& config, std::uint64_t bytes, unsigned operands, RegSet free) {
  if (config.address_mode == AddressMode::kGuest) return {EmitForm::kCall, "guest addresses"};
  if (bytes > std::min<std::uint64_t>(config.inline_max, kPiecesLimit)) {
    return {EmitForm::kCall, "more than inline_max, or than pairs reach"};
  }
  if (!flags_allow(config, bytes)) return {EmitForm::kCall, "the flags want the helper"};
  const unsigned vectors = operands == 1 ? 1 : vectors_for(pieces_of(bytes));
  if (!vectors_suffice(config, vectors) ||
      static_cast<unsigned>(std::popcount(free)) < registers_for(config, operands)) {
    return {EmitForm::kCall, "too few scratch registers"};
  }
  return {EmitForm::kVectors, "all loads before all stores"};
}

}  // namespace

std::uint32_t stub_for(const Stubs& stubs, CopySize size) {
  if (size.in_register()) return stubs.copy_any;
  if (size.bytes() <= 64 || size.bytes() > 256) return 0;
  return size.bytes() <= 128 ? stubs.copy_128 : stubs.copy_256;
}

Plan plan_copy(const EmitConfig& config, std::uint64_t bytes, RegSet free) {
  if (bytes == 0) return {EmitForm::kNothing, "a copy of nothing accesses nothing"};
  if (reaches_guest(config)) return plan_guest(config, bytes, 2, free);
  const bool words = bytes < 16;
  const bool room =
      words ? free != 0
            : bytes <= kPiecesLimit && vectors_suffice(config, vectors_for(pieces_of(bytes)));
  if (bytes <= config.inline_max && room) {
    if (words) return {EmitForm::kWords, "pieces of 8, 4, 2 and 1, no byte twice"};
    return {EmitForm::kVectors, "all loads before all stores"};
  }
  if (bytes > std::max(config.inline_max, config.stub_max)) {
    return {EmitForm::kCall, "more than stub_max: the copy core"};
  }
  if (bytes <= config.stub_max && may_call_stubs(config) &&
      stub_for(*config.stubs, CopySize::constant(bytes)) != 0) {
    return {EmitForm::kStub, "a near call costs little code"};
  }
  if (!room) return {EmitForm::kCall, "no stub, too few scratch registers"};
  if (words) return {EmitForm::kCall, "more than inline_max: the copy core"};
  return {EmitForm::kVectors, "no stub: moves are cheaper than a call"};
}

Plan plan_fill(const EmitConfig& config, std::uint64_t bytes, RegSet free) {
  if (bytes == 0) return {EmitForm::kNothing, "a fill of nothing accesses nothing"};
  if (reaches_guest(config)) return plan_guest(config, bytes, 1, free);
  if (bytes > std::min<std::uint64_t>(config.inline_max, kPiecesLimit) ||
      !vectors_suffice(config, 1)) {
    return {EmitForm::kCall, "more than inline_max, or no scratch vector"};
  }
  return {EmitForm::kVectors, "stores of one register"};
}

Plan plan_register_copy(const EmitConfig& config) {
  if (reaches_guest(config)) return {EmitForm::kCall, "guest addresses"};
  if (!may_call_stubs(config) || config.stubs->copy_any == 0) {
    return {EmitForm::kCall, "the copy core"};
  }
  return {EmitForm::kStub, "a tree of branches, once"};
}

}  // namespace vm_engine::internal::aarch64

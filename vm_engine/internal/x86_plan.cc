#include "vm_engine/internal/x86_plan.h"

#include <algorithm>
#include <bit>

#include "vm_engine/internal/x86_code.h"

namespace vm_engine::internal {
namespace {

constexpr VectorSet kHighVectors = kAllVectors & ~kLowVectors;
// Flags that loads before stores keep by themselves, where nothing faults half way.
constexpr std::uint32_t kKept =
    0x7ff | VME_OVERLAP_DISJOINT | VME_BACKWARD | VME_ATOMIC_OR_NOTHING | VME_POLL | VME_NO_MMIO;

int size_of(std::uint32_t set) { return std::popcount(set); }

bool fits(const EmitConfig& config, const Pieces& pieces) {
  return pieces.count <= static_cast<unsigned>(size_of(config.scratch_vectors));
}

bool flags_want_helper(const EmitConfig& config, std::uint64_t bytes) {
  if (!is_whole_elements(config, bytes)) return true;
  const std::uint32_t once = bytes <= 16 ? VME_ONCE : 0;
  if ((config.flags & ~(kKept | once)) != 0) return true;
  const bool one_piece = bytes <= 16 && std::has_single_bit(bytes);
  return has_sites(config) && !one_piece &&
         (config.flags & (VME_BACKWARD | VME_ATOMIC_OR_NOTHING)) != 0;
}

// Soft TLB: two addends, and one more to compare with. Fastmem: one to check an address
// with, and to say how far a copy got.
int registers_for_addresses(const EmitConfig& config) {
  return config.address_mode == AddressMode::kSoftTlb ? 3 : 1;
}

Plan plan_guest(const EmitConfig& config, std::uint64_t bytes, RegSet free, bool copy) {
  if (config.address_mode == AddressMode::kGuest) return {EmitForm::kCall, "guest addresses"};
  if (bytes > config.inline_max) return {EmitForm::kCall, "more than inline_max"};
  if (flags_want_helper(config, bytes)) return {EmitForm::kCall, "the flags want the helper"};
  const Pieces pieces = pieces_of(bytes, config.level);
  // A copy loads all of its words before it stores one.
  const int words = pieces.width == 0 ? std::popcount(bytes) : 0;
  const int wanted = registers_for_addresses(config) + (copy ? words : 1);
  const bool vectors_suffice = copy ? fits(config, pieces) : config.scratch_vectors != 0;
  if (size_of(free) < wanted || !vectors_suffice) {
    return {EmitForm::kCall, "too few scratch registers"};
  }
  if (pieces.width == 0) return {EmitForm::kWords, "all loads before all stores, no byte twice"};
  return {EmitForm::kVectors, "all loads before all stores"};
}

bool can_call_stubs(const EmitConfig& config) {
  return config.stubs != nullptr && (config.stubs->changes & ~config.scratch) == 0 &&
         (config.stubs->changes_vectors & ~config.scratch_vectors) == 0;
}

}  // namespace

std::uint64_t Pieces::offset(unsigned piece, std::uint64_t bytes) const {
  return std::min<std::uint64_t>(std::uint64_t{piece} * width, bytes - width);
}

Pieces pieces_of(std::uint64_t bytes, VectorLevel level) {
  if (bytes < 16) return Pieces{};
  unsigned width = widest(level);
  // A store of 64 bytes that crosses a line costs more than two of 32, and the last of a
  // few pieces that overlap nearly always does. (Zen 5: 96 bytes 0.8 ns against 1.1.)
  if (width == 64 && bytes < 128 && bytes % 64 != 0) width = 32;
  while (width > bytes) width /= 2;
  return Pieces{.width = width, .count = static_cast<unsigned>((bytes + width - 1) / width)};
}

VectorPool::VectorPool(const EmitConfig& config)
    : high_(config.scratch_vectors & kHighVectors), low_(config.scratch_vectors & kLowVectors) {}

unsigned VectorPool::take() {
  if (high_ != 0) return take_lowest(high_);
  took_low_ = true;
  return take_lowest(low_);
}

RegSet free_registers(const EmitConfig& config, RegSet operands) {
  RegSet kept = operands;
  if (is_guest(config)) kept |= reg_bit(config.cpu);
  if (config.address_mode == AddressMode::kFastmem) kept |= reg_bit(config.fastmem_base);
  return config.scratch & ~kept;
}

std::uint32_t stub_for(const EmitConfig& config, std::uint64_t bytes) {
  if (!can_call_stubs(config) || bytes <= 64 || bytes > 256) return 0;
  return bytes <= 128 ? config.stubs->copy_128 : config.stubs->copy_256;
}
std::uint32_t stub_for_any(const EmitConfig& config) {
  return can_call_stubs(config) ? config.stubs->copy_any : 0;
}

Plan x86_plan_copy(const EmitConfig& config, std::uint64_t bytes, RegSet free) {
  if (bytes == 0) return {EmitForm::kNothing, "a copy of nothing accesses nothing"};
  if (is_guest(config)) return plan_guest(config, bytes, free, true);
  const bool words = bytes < 16;
  const bool room = words ? free != 0 : fits(config, pieces_of(bytes, config.level));
  if (bytes <= config.inline_max && room) {
    if (words) return {EmitForm::kWords, "pieces of 8, 4, 2 and 1, no byte twice"};
    return {EmitForm::kVectors, "all loads before all stores"};
  }
  if (bytes > std::max(config.inline_max, config.stub_max)) {
    return {EmitForm::kCall, "more than stub_max: the copy core"};
  }
  if (bytes <= config.stub_max && stub_for(config, bytes) != 0) {
    return {EmitForm::kStub, "a near call costs little code"};
  }
  if (!room) return {EmitForm::kCall, "no stub, too few scratch registers"};
  if (words) return {EmitForm::kCall, "more than inline_max: the copy core"};
  return {EmitForm::kVectors, "no stub: moves are cheaper than a call"};
}

Plan x86_plan_fill(const EmitConfig& config, std::uint64_t bytes, RegSet free) {
  if (bytes == 0) return {EmitForm::kNothing, "a fill of nothing accesses nothing"};
  if (is_guest(config)) return plan_guest(config, bytes, free, false);
  const bool vectors_suffice = bytes < 16 || config.scratch_vectors != 0;
  if (bytes > config.inline_max || !vectors_suffice || size_of(free) < 2) {
    return {EmitForm::kCall, "more than inline_max, or too few scratch registers"};
  }
  return {bytes < 16 ? EmitForm::kWords : EmitForm::kVectors, "stores of one register"};
}

std::vector<EmitPolicyRow> x86_plan_register_copy(const EmitConfig& config, RegSet free) {
  const EmitPolicyRow all{.max_bytes = UINT64_MAX, .in_register = true, .why = "guest addresses"};
  if (is_guest(config)) return {all};
  EmitPolicyRow far = all;
  far.form = stub_for_any(config) != 0 ? EmitForm::kStub : EmitForm::kCall;
  far.why = far.form == EmitForm::kStub ? "a tree of branches, once" : "the copy core";
  const bool masked =
      config.level == VectorLevel::kAvx512 && free != 0 && config.scratch_vectors != 0;
  if (!masked) return {far};
  far.min_bytes = 65;
  return {{.max_bytes = 64,
           .in_register = true,
           .form = EmitForm::kMasked,
           .why = "one masked vector, no branch on the size"},
          far};
}

}  // namespace vm_engine::internal

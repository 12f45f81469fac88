#include "vm_engine/internal/x86_address.h"

#include "vm_engine/vm_engine.h"

namespace vm_engine::internal {
namespace {

namespace x86 = asmjit::x86;

constexpr std::int32_t kPageMask = -(1 << VME_PAGE_BITS);

unsigned mode_of(const EmitConfig& config, std::uint8_t side) {
  const int shift = side == VME_SIDE_SOURCE ? VME_MMU_SRC_SHIFT : VME_MMU_DST_SHIFT;
  return config.flags >> shift & 15;
}

std::int32_t comparator_of(std::uint32_t access) {
  return access == VME_ACCESS_WRITE ? VME_TLB_ENTRY_WRITE_OFFSET : VME_TLB_ENTRY_READ_OFFSET;
}

// Nine instructions: with the access they are ten.
HostOperand probe(X86Fragment& out, const EmitConfig& config, const GuestRange& range, Reg entry,
                  Reg temporary) {
  const auto tlb =
      static_cast<std::int32_t>(VME_CPU_TLB_OFFSET + mode_of(config, range.side) * VME_TLB_BYTES);
  const auto last = static_cast<std::int32_t>(range.bytes - 1);
  X86Code& code = out.hot;
  code->mov(gp(entry), gp(range.gva));
  code->shr(gp(entry), VME_TLB_INDEX_SHIFT);
  code->and_(gp(entry), x86::qword_ptr(gp(config.cpu), tlb + VME_TLB_MASK_OFFSET));
  code->add(gp(entry), x86::qword_ptr(gp(config.cpu), tlb + VME_TLB_TABLE_OFFSET));
  code->lea(gp(temporary), x86::ptr(gp(range.gva), last));
  code->and_(gp(temporary), kPageMask);
  code->cmp(gp(temporary), x86::qword_ptr(gp(entry), comparator_of(range.access)));
  out.to_slow(code.jump_if(Condition::kNotEqual));
  code->mov(gp(entry), x86::qword_ptr(gp(entry), VME_TLB_ENTRY_ADDEND_OFFSET));
  return {.base = range.gva, .index = entry};
}

// What lies up to 2 GiB behind the arena is a guard; what lies farther is anybody's.
void check_arena(X86Fragment& out, const EmitConfig& config, Reg gva, Reg temporary) {
  if (config.gva_bits <= config.arena_bits) return;
  out.hot->mov(gp(temporary), gp(gva));
  out.hot->shr(gp(temporary), config.arena_bits);
  out.to_slow(out.hot.jump_if(Condition::kNotEqual));
}

}  // namespace

HostOperand address_of(X86Fragment& out, const EmitConfig& config, const GuestRange& range,
                       RegSet& free, Reg temporary) {
  switch (config.address_mode) {
    case AddressMode::kSoftTlb: return probe(out, config, range, take_lowest_reg(free), temporary);
    case AddressMode::kFastmem:
      check_arena(out, config, range.gva, temporary);
      return {.base = config.fastmem_base, .index = range.gva};
    default: return {.base = range.gva};
  }
}

}  // namespace vm_engine::internal

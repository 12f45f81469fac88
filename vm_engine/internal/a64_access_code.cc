#include "vm_engine/internal/a64_access_code.h"

#include <bit>

#include "vm_engine/vm_engine.h"

namespace vm_engine::internal::aarch64 {
namespace {

namespace a64 = asmjit::a64;

constexpr std::uint64_t kPageMask = ~((std::uint64_t{1} << VME_PAGE_BITS) - 1);

std::int32_t tlb_offset(std::uint32_t flags, std::uint8_t side) {
  const unsigned shift = side == VME_SIDE_SOURCE ? VME_MMU_SRC_SHIFT : VME_MMU_DST_SHIFT;
  const auto mode = static_cast<std::int32_t>(flags >> shift & 0xf);
  return VME_CPU_TLB_OFFSET + mode * VME_TLB_BYTES;
}

constexpr std::uint32_t kOrder = 3u << 18;  // VME_ORDER_*
static_assert((VME_ORDER_ACQREL_ENDS | VME_ORDER_TSO_ELEM) == kOrder);

// Of the config's flags those that vme_load and vme_store take, with this access as the
// element.
std::uint32_t access_flags(const EmitConfig& config, MemOp op) {
  constexpr std::uint32_t kBothModes = 0xffu << VME_MMU_SRC_SHIFT;
  constexpr std::uint32_t kTaken = kBothModes | VME_NO_MMIO | VME_ONCE | kOrder;
  const auto log2 = static_cast<std::uint32_t>(std::countr_zero(op.bytes));
  return (config.flags & kTaken) | log2 << VME_ELEM_SHIFT;
}

// A load acquires and a store releases where the flags order anything.
void write_barrier(A64Emission& emission, a64::Predicate::DB::Value kind) {
  const EmitConfig& config = emission.config();
  if (config.address_mode == AddressMode::kHostPointer || (config.flags & kOrder) == 0) return;
  emission.line.assembler.dmb(asmjit::Imm(kind));
}

A64Call load_call(const EmitConfig& config, const AccessRequest& request) {
  return {.name = "load",
          .helper = config.helpers.load,
          .moves = {{Reg::kX0, config.cpu}, {Reg::kX1, request.gva}},
          .constants = {{Reg::kX2, access_flags(config, request.op)}}};
}

A64Call store_call(const EmitConfig& config, const AccessRequest& request) {
  A64Call call{.name = "store",
               .helper = config.helpers.store,
               .moves = {{Reg::kX0, config.cpu}, {Reg::kX1, request.gva}, {Reg::kX2, request.reg}},
               .constants = {{Reg::kX3, access_flags(config, request.op)}}};
  if (request.op.order == ByteOrder::kBig) {
    call.adjust = [bytes = request.op.bytes](A64Code& code) {
      code.swap_bytes(Reg::kX2, Reg::kX2, bytes);
    };
  }
  return call;
}

// Where the access finds its memory; goes to `miss` where it does not.
a64::Mem find(A64Emission& emission, const AccessRequest& request, std::uint8_t side, RegSet& taken,
              const asmjit::Label& miss) {
  const EmitConfig& config = emission.config();
  const a64::GpX gva = x_reg(request.gva);
  switch (config.address_mode) {
    case AddressMode::kSoftTlb: {
      const Reg comparator = emission.take_scratch(taken);
      const Reg tag = emission.take_scratch(taken);
      const Reg addend = emission.take_scratch(taken);
      probe(emission, {request.gva, request.op.bytes, side, comparator, tag, addend}, miss);
      taken &= ~(reg_bit(comparator) | reg_bit(tag));
      return a64::ptr(gva, x_reg(addend));
    }
    case AddressMode::kFastmem:
      check_arena(emission, request.gva, taken, miss);
      return a64::ptr(x_reg(config.fastmem_base), gva);
    default: return a64::ptr(gva);
  }
}

void go_out_of_line(A64Emission& emission) {
  const asmjit::Label call = emission.slow.assembler.newLabel();
  emission.line.assembler.b(emission.branch_label(emission.line, call));
  emission.slow.assembler.bind(call);
}

// One byte has no order.
MemOp ordered(MemOp op) {
  if (op.bytes == 1) op.order = ByteOrder::kLittle;
  return op;
}

}  // namespace

RegSet taken_by(const EmitConfig& config, RegSet operands) { return operands | needed(config); }

void probe(A64Emission& emission, const A64Probe& probe, const asmjit::Label& miss) {
  a64::Assembler& code = emission.line.assembler;
  const EmitConfig& config = emission.config();
  const a64::GpX gva = x_reg(probe.gva);
  const a64::GpX comparator = x_reg(probe.comparator);
  const a64::GpX tag = x_reg(probe.tag);
  const a64::GpX entry = x_reg(probe.addend);
  const std::int32_t comparator_at =
      probe.side == VME_SIDE_SOURCE ? VME_TLB_ENTRY_READ_OFFSET : VME_TLB_ENTRY_WRITE_OFFSET;
  static_assert(VME_TLB_TABLE_OFFSET == VME_TLB_MASK_OFFSET + 8);
  code.ldp(comparator, entry,
           a64::ptr(x_reg(config.cpu), tlb_offset(config.flags, probe.side) + VME_TLB_MASK_OFFSET));
  code.and_(comparator, comparator, gva, a64::lsr(VME_TLB_INDEX_SHIFT));
  code.add(entry, entry, comparator);
  code.ldr(comparator, a64::ptr(entry, comparator_at));
  code.ldr(entry, a64::ptr(entry, VME_TLB_ENTRY_ADDEND_OFFSET));
  if (probe.bytes > 1) code.add(tag, gva, probe.bytes - 1);
  code.and_(tag, probe.bytes > 1 ? tag : gva, kPageMask);
  code.eor(comparator, comparator, tag);
  code.cbnz(comparator, emission.branch_label(emission.line, miss));
}

void check_arena(A64Emission& emission, Reg gva, RegSet taken, const asmjit::Label& outside) {
  const EmitConfig& config = emission.config();
  if (config.gva_bits <= config.arena_bits) return;
  const a64::GpX above = x_reg(emission.take_scratch(taken));
  emission.line.assembler.lsr(above, x_reg(gva), config.arena_bits);
  emission.line.assembler.cbnz(above, emission.branch_label(emission.line, outside));
}

void write_load(A64Emission& emission, AccessRequest request) {
  const EmitConfig& config = emission.config();
  request.op = ordered(request.op);
  if (config.address_mode == AddressMode::kGuest) {
    go_out_of_line(emission);
    emission.load_or_exit(load_call(config, request), request);
    return;
  }
  RegSet taken = taken_by(config, reg_bit(request.gva) | reg_bit(request.reg));
  const asmjit::Label miss = emission.slow.assembler.newLabel();
  const a64::Mem from = find(emission, request, VME_SIDE_SOURCE, taken, miss);
  if (has_sites(config)) {
    emission.site(miss, VME_SIDE_SOURCE, request.op.bytes, 0);
  }
  emission.line.load(request.reg, from, request.op);
  write_barrier(emission, a64::Predicate::DB::kISHLD);
  emission.line.finish_load(request.reg, request.op);
  if (config.address_mode == AddressMode::kHostPointer) return;
  emission.slow.assembler.bind(miss);
  emission.load_or_exit(load_call(config, request), request);
}

void write_store(A64Emission& emission, AccessRequest request) {
  const EmitConfig& config = emission.config();
  request.op = ordered(request.op);
  if (config.address_mode == AddressMode::kGuest) {
    go_out_of_line(emission);
    emission.call_or_exit(emission.slow, store_call(config, request));
    return;
  }
  RegSet taken = taken_by(config, reg_bit(request.gva) | reg_bit(request.reg));
  const asmjit::Label miss = emission.slow.assembler.newLabel();
  const a64::Mem to = find(emission, request, VME_SIDE_DESTINATION, taken, miss);
  Reg value = request.reg;
  if (request.op.order == ByteOrder::kBig) {
    value = emission.take_scratch(taken);
    emission.line.swap_bytes(value, request.reg, request.op.bytes);
  }
  write_barrier(emission, a64::Predicate::DB::kISH);
  if (has_sites(config)) {
    emission.site(miss, VME_SIDE_DESTINATION, request.op.bytes, 0);
  }
  emission.line.store(value, to, request.op);
  if (config.address_mode == AddressMode::kHostPointer) return;
  emission.slow.assembler.bind(miss);
  emission.call_or_exit(emission.slow, store_call(config, request));
}

}  // namespace vm_engine::internal::aarch64

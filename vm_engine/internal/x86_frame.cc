#include "vm_engine/internal/x86_frame.h"

#include <bit>

namespace vm_engine::internal {
namespace {

namespace x86 = asmjit::x86;

void move_stack(X86Code& code, std::int32_t by) {
  if (by != 0) code->lea(x86::rsp, x86::ptr(x86::rsp, by));
}

unsigned count(std::uint32_t set) { return static_cast<unsigned>(std::popcount(set)); }

}  // namespace

X86Frame::X86Frame(const EmitConfig& config, RegSet may_change, unsigned extra)
    : regs_(kCallerSaved & ~may_change),
      vector_bytes_(widest(config.level)),
      red_zone_(static_cast<std::int32_t>(config.red_zone_bytes)),
      extra_(static_cast<std::int32_t>(extra)) {
  const VectorSet existing = config.level == VectorLevel::kAvx512 ? kAllVectors : kLowVectors;
  vectors_ = existing & ~config.scratch_vectors;
  const unsigned vector_space = count(vectors_) * vector_bytes_;
  const unsigned above = config.red_zone_bytes + count(regs_) * 8;
  const unsigned at_call = 16 + config.rsp_mod_16 - above % 16;
  below_ = static_cast<std::int32_t>(extra + vector_space + at_call % 16);
}

void X86Frame::enter(X86Code& code) const {
  move_stack(code, -red_zone_);
  for (unsigned id = 0; id < 16; ++id) {
    if ((regs_ >> id & 1) != 0) code->push(x86::gpq(id));
  }
  move_stack(code, -below_);
  move_vectors(code, true);
}

void X86Frame::leave(X86Code& code) const {
  move_vectors(code, false);
  move_stack(code, below_);
  for (unsigned id = 16; id-- > 0;) {
    if ((regs_ >> id & 1) != 0) code->pop(x86::gpq(id));
  }
  move_stack(code, red_zone_);
}

void X86Frame::clear_upper(X86Code& code) const {
  if (vectors_ != 0 && vector_bytes_ > 16) code->vzeroupper();
}

void X86Frame::set(X86Code& code, Reg reg, Reg from) const {
  if ((regs_ & reg_bit(reg)) == 0) {
    if (reg != from) code->mov(gp(reg), gp(from));
    return;
  }
  const unsigned pushed_after = count(regs_ >> (static_cast<unsigned>(reg) + 1));
  const std::int32_t slot = below_ + static_cast<std::int32_t>(pushed_after * 8);
  code->mov(x86::qword_ptr(x86::rsp, slot), gp(from));
}

void X86Frame::move_vectors(X86Code& code, bool save) const {
  std::int32_t offset = extra_;
  for (VectorSet left = vectors_; left != 0;) {
    const unsigned vector = take_lowest(left);
    const x86::Mem slot(x86::rsp, offset, vector_bytes_);
    if (save) {
      code.store_vector(slot, vector);
    } else {
      code.load_vector(vector, slot);
    }
    offset += static_cast<std::int32_t>(vector_bytes_);
  }
}

}  // namespace vm_engine::internal

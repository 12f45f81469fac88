// Which form a size takes in x86-64 code, and what that form needs.
#ifndef VM_ENGINE_INTERNAL_X86_PLAN_H_
#define VM_ENGINE_INTERNAL_X86_PLAN_H_

#include <cstdint>
#include <vector>

#include "vm_engine/internal/emit_back_end.h"

namespace vm_engine::internal {

// Copies of up to 15 bytes: pieces of 8, 4, 2 and 1. Others: `count` vectors of `width`
// bytes, the last ending at the end.
struct Pieces {
  unsigned width = 0;  // 0: words
  unsigned count = 0;

  std::uint64_t offset(unsigned piece, std::uint64_t bytes) const;
};
Pieces pieces_of(std::uint64_t bytes, VectorLevel level);

// Vectors in the order that code in line takes them. With AVX-512 those from 16 on first,
// whose use leaves nothing for vzeroupper to clear.
class VectorPool {
 public:
  explicit VectorPool(const EmitConfig& config);
  unsigned take();
  bool took_low() const { return took_low_; }

 private:
  VectorSet high_ = 0;
  VectorSet low_ = 0;
  bool took_low_ = false;
};

inline bool is_guest(const EmitConfig& config) {
  return config.address_mode != AddressMode::kHostPointer;
}

// Scratch registers that are no operand, vCPU or base.
RegSet free_registers(const EmitConfig& config, RegSet operands);

// `free`: what free_registers leaves for the operation.
Plan x86_plan_copy(const EmitConfig& config, std::uint64_t bytes, RegSet free);
Plan x86_plan_fill(const EmitConfig& config, std::uint64_t bytes, RegSet free);
std::vector<EmitPolicyRow> x86_plan_register_copy(const EmitConfig& config, RegSet free);

// The stub that copies `bytes`, as an offset in config.stubs; 0: none that this config
// can call. For a size in a register: the stub for any.
std::uint32_t stub_for(const EmitConfig& config, std::uint64_t bytes);
std::uint32_t stub_for_any(const EmitConfig& config);

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_X86_PLAN_H_

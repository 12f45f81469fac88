// What a call of the ABI would change and the config does not allow to: saved on the stack
// around it.
#ifndef VM_ENGINE_INTERNAL_X86_FRAME_H_
#define VM_ENGINE_INTERNAL_X86_FRAME_H_

#include <cstdint>

#include "vm_engine/internal/x86_code.h"

namespace vm_engine::internal {

class X86Frame {
 public:
  // `may_change`: registers that need not be saved. `extra`: bytes at the top of the stack
  // for the code's own use, between enter() and leave(); a multiple of 16.
  X86Frame(const EmitConfig& config, RegSet may_change, unsigned extra = 0);

  // Steps over the red zone, saves, and aligns rsp for a call.
  void enter(X86Code& code) const;
  void leave(X86Code& code) const;
  // Sets a register as it will be after leave(). Needs: between enter() and leave().
  void set(X86Code& code, Reg reg, Reg from) const;
  // Clears the upper halves, which what is called may use SSE with.
  void clear_upper(X86Code& code) const;

 private:
  void move_vectors(X86Code& code, bool save) const;

  RegSet regs_ = 0;
  VectorSet vectors_ = 0;
  unsigned vector_bytes_ = 0;
  std::int32_t red_zone_ = 0;
  std::int32_t extra_ = 0;
  std::int32_t below_ = 0;  // bytes taken by `extra`, vectors and alignment
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_X86_FRAME_H_

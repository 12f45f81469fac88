// The stack around a call that emitted AArch64 code makes: what the call may change and the
// caller of the code wants back, and room for what the code itself puts there.
#ifndef VM_ENGINE_INTERNAL_A64_FRAME_H_
#define VM_ENGINE_INTERNAL_A64_FRAME_H_

#include <cstdint>

#include "vm_engine/internal/a64_code.h"

namespace vm_engine::internal::aarch64 {

// The registers that an access needs, and that survive it.
RegSet needed(const EmitConfig& config);

class A64Frame {
 public:
  // Keeps what a call changes but the config lets survive, and `also`. `room`: bytes at sp
  // for the code's own use.
  A64Frame(const EmitConfig& config, RegSet also, std::uint32_t room);

  void enter(A64Code& code) const;
  // Brings back all but `except`, and sp.
  void leave(A64Code& code, RegSet except) const;

  // Three words, each 8 bytes at sp + what these say.
  std::int32_t flags_slot() const { return static_cast<std::int32_t>(room_); }
  std::int32_t cpu_slot() const { return flags_slot() + 8; }
  std::int32_t done_slot() const { return flags_slot() + 16; }

 private:
  enum class Way : std::uint8_t { kSave, kRestore };
  void move_registers(A64Code& code, Way way, RegSet except) const;
  void move_vectors(A64Code& code, Way way) const;

  RegSet regs_;
  VectorSet vectors_;
  std::uint32_t room_;
  std::uint32_t bytes_;
};

}  // namespace vm_engine::internal::aarch64

#endif  // VM_ENGINE_INTERNAL_A64_FRAME_H_

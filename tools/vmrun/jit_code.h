// x86-64 code that works on guest registers, written into a CodeBuffer.
//
// Eight guest registers live in host registers for as long as translated code runs; the
// others are operands in memory. rbp points into the register file, r13 counts retired
// instructions, r15 is the vCPU, r14 the fastmem arena; rax, rcx and rdx are free.
#ifndef VMRUN_JIT_CODE_H_
#define VMRUN_JIT_CODE_H_

#include <asmjit/x86.h>

#include <cstddef>
#include <cstdint>

#include "vm_engine/emit.h"

namespace vmrun {

// What rbp is ahead of x[0]: all registers are then within a displacement of one byte.
inline constexpr std::int32_t kRegisterBias = 128;

// Which guest registers have a host register: those that compressed instructions can name
// most, and the stack pointer.
struct FixedRegister {
  unsigned guest;
  unsigned host;
};
inline constexpr FixedRegister kFixedRegisters[] = {{15, 3}, {14, 6},  {10, 7}, {11, 8},
                                                    {12, 9}, {13, 10}, {8, 11}, {2, 12}};

class JitCode {
 public:
  using Gp = asmjit::x86::Gp;
  using InstId = asmjit::InstId;

  explicit JitCode(vm_engine::CodeBuffer& buffer);
  JitCode(const JitCode&) = delete;
  JitCode& operator=(const JitCode&) = delete;

  asmjit::x86::Assembler* operator->() { return &assembler_; }
  // Where the next instruction goes. What the assembler has made is in the buffer then;
  // its labels do not reach across.
  std::size_t here();
  // False once something could not be encoded or had no room.
  bool ok() const { return ok_; }
  void fail() { ok_ = false; }

  // To an offset in the buffer.
  void jump(std::size_t target);
  void call(std::size_t target);
  void jump_if(unsigned condition, std::size_t target);
  // Jumps whose field is set later; the field's offset.
  std::size_t open_jump();
  std::size_t open_jump_if(unsigned condition);
  static void set_target(vm_engine::CodeBuffer& buffer, std::size_t field, std::size_t target);

  static bool is_fixed(unsigned guest) { return host_of(guest) != kNone; }
  static Gp fixed(unsigned guest) { return asmjit::x86::gpq(host_of(guest)); }
  static asmjit::x86::Mem slot(unsigned guest, unsigned bytes = 8);

  // All of a register, or its low half.
  static Gp sized(Gp reg, unsigned bytes) { return bytes == 8 ? reg : Gp(reg.r32()); }

  // Whole registers. x0 reads as 0, and the sink takes nothing.
  void read(Gp to, unsigned guest);
  void write(unsigned guest, Gp from);
  void write_constant(unsigned guest, std::uint64_t value);
  // The register itself, or a copy in `spare`: not to be written.
  Gp in_register(unsigned guest, Gp spare);
  // Where a result may be made that write() then puts into place.
  static Gp destination(unsigned guest, Gp spare) { return is_fixed(guest) ? fixed(guest) : spare; }
  // An operand for one instruction, of 4 or 8 bytes; x0 goes through `spare`.
  asmjit::Operand operand(unsigned guest, unsigned bytes, Gp spare);

  void emit(InstId id, const asmjit::Operand_& a, const asmjit::Operand_& b);
  void load_constant(Gp to, std::uint64_t value);
  // All fixed registers from and to the register file.
  void load_fixed();
  void store_fixed();

 private:
  static constexpr unsigned kNone = 255;
  static constexpr unsigned host_of(unsigned guest) {
    for (const FixedRegister& pair : kFixedRegisters) {
      if (pair.guest == guest) return pair.host;
    }
    return kNone;
  }
  void append(const void* bytes, std::size_t count);

  vm_engine::CodeBuffer* buffer_;
  bool ok_ = true;
  std::size_t taken_ = 0;  // of the assembler's bytes
  asmjit::CodeHolder holder_;
  asmjit::x86::Assembler assembler_;
};

}  // namespace vmrun

#endif  // VMRUN_JIT_CODE_H_

// A run of x86-64 instructions, in asmjit's terms and in those of emit.h.
#ifndef VM_ENGINE_INTERNAL_X86_CODE_H_
#define VM_ENGINE_INTERNAL_X86_CODE_H_

#include <asmjit/x86.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "vm_engine/emit.h"

namespace vm_engine::internal {

asmjit::x86::Gp gp(Reg reg, unsigned bytes = 8);
unsigned widest(VectorLevel level);
// The lowest member, taken out of the set. Needs: the set is not empty.
unsigned take_lowest(std::uint32_t& set);
inline Reg take_lowest_reg(RegSet& set) { return static_cast<Reg>(take_lowest(set)); }

// Memory at a register, or at the sum of two.
struct HostOperand {
  Reg base = Reg::kRax;
  std::optional<Reg> index = std::nullopt;

  asmjit::x86::Mem at(std::uint64_t offset, unsigned bytes) const;
};

// The second byte of a conditional jump's opcode.
enum class Condition : std::uint8_t { kNotEqual = 0x85, kEqual = 0x84, kAbove = 0x87 };

class X86Code {
 public:
  using Moves = std::vector<std::pair<Reg, Reg>>;  // destination, source

  explicit X86Code(VectorLevel level);
  X86Code(const X86Code&) = delete;
  X86Code& operator=(const X86Code&) = delete;

  asmjit::x86::Assembler* operator->() { return &assembler_; }
  std::size_t size() const { return assembler_.offset(); }

  // Of a register's size or less; a load zero-extends.
  void load_word(Reg reg, const asmjit::x86::Mem& from);
  void store_word(const asmjit::x86::Mem& to, Reg reg);
  // 16, 32 or 64 bytes.
  void load_vector(unsigned vector, const asmjit::x86::Mem& from);
  void store_vector(const asmjit::x86::Mem& to, unsigned vector);

  // All of them at once.
  void move_together(Moves moves);

  // Each returns where its field is, 4 bytes that a link fills in.
  std::size_t jump();
  std::size_t jump_if(Condition condition);
  std::size_t call();
  void jump_to(std::uint64_t address);

  // The instructions, or what asmjit found wrong with one.
  absl::Status take(std::vector<std::byte>& code);

 private:
  class FirstError : public asmjit::ErrorHandler {
   public:
    void handleError(asmjit::Error told, const char*, asmjit::BaseEmitter*) override {
      if (first == asmjit::kErrorOk) first = told;
    }
    asmjit::Error first = asmjit::kErrorOk;
  };
  std::size_t field_after(const void* opcode, std::size_t bytes);
  void move_vector(const asmjit::Operand_& to, const asmjit::Operand_& from, unsigned vector,
                   unsigned bytes);

  VectorLevel level_;
  FirstError errors_;
  asmjit::CodeHolder holder_;
  asmjit::x86::Assembler assembler_;
};

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_X86_CODE_H_

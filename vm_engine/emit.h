// Copies as machine code: emit_memcpy_call writes x86-64 instructions into a buffer
// of the caller's, for a JIT of any make to run inside its own code. The code is
// position independent and follows the System V ABI where it calls.
#ifndef VM_ENGINE_EMIT_H_
#define VM_ENGINE_EMIT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace vm_engine {

// General purpose registers, numbered as instructions encode them.
enum class Reg : std::uint8_t {
  kRax,
  kRcx,
  kRdx,
  kRbx,
  kRsp,
  kRbp,
  kRsi,
  kRdi,
  kR8,
  kR9,
  kR10,
  kR11,
  kR12,
  kR13,
  kR14,
  kR15,
};

// A set of general purpose registers, bit i for register i.
using RegSet = std::uint16_t;
constexpr RegSet reg_bit(Reg reg) { return static_cast<RegSet>(1u << static_cast<unsigned>(reg)); }
// A set of vector registers, bit i for xmm<i>, ymm<i>, zmm<i>.
using VectorSet = std::uint32_t;

// What a System V call may change: rax, rcx, rdx, rsi, rdi, r8 to r11.
inline constexpr RegSet kCallerSaved = 0x0fc7;
inline constexpr VectorSet kLowVectors = 0x0000ffff;
inline constexpr VectorSet kAllVectors = 0xffffffff;  // with AVX-512

// How many bytes to copy: known when the code is emitted, or in a register then.
class CopySize {
 public:
  static constexpr CopySize constant(std::uint64_t bytes) {
    return CopySize(bytes, Reg::kRax, false);
  }
  static constexpr CopySize in(Reg reg) { return CopySize(0, reg, true); }

  constexpr bool in_register() const { return in_register_; }
  constexpr std::uint64_t bytes() const { return bytes_; }
  constexpr Reg reg() const { return reg_; }

 private:
  constexpr CopySize(std::uint64_t bytes, Reg reg, bool in_register)
      : bytes_(bytes), reg_(reg), in_register_(in_register) {}

  std::uint64_t bytes_;
  Reg reg_;
  bool in_register_;
};

// An instruction whose fault the engine would catch.
struct FaultSite {
  std::size_t code_offset = 0;
  std::uint16_t cookie = 0;
};

// Where code goes: appended at bytes[used], which moves on. No code that is emitted
// in either address mode relies on a caught fault, so fault_sites stays as it is.
struct CodeBuffer {
  std::span<std::byte> bytes;
  std::size_t used = 0;
  std::vector<FaultSite> fault_sites;
};

enum class VectorLevel : std::uint8_t { kSse2, kAvx2, kAvx512 };

enum class AddressMode : std::uint8_t {
  // The registers hold host pointers to disjoint ranges. Nothing is promised about words:
  // guest memory that other vCPUs reach takes kGuest.
  kHostPointer,
  // They hold guest virtual addresses; the copy is vme_copy's, with its guarantees.
  kGuest,
};

struct EmitConfig {
  VectorLevel level = VectorLevel::kSse2;
  AddressMode address_mode = AddressMode::kHostPointer;
  // Units:  bytes. Host pointers: constant sizes up to here are copied in line.
  std::size_t inline_max = 64;

  // What the emitted code may change. Code in line uses the lowest of these. A call
  // saves and restores what it would change beyond them, vectors at the width of
  // `level`. Vectors 16 to 31 need kAvx512.
  RegSet scratch = kCallerSaved;
  VectorSet scratch_vectors = kLowVectors;

  // kGuest: the register that holds the vme_cpu*, that which gets the bytes not done
  // (it may always change), and the flags of vme_copy.
  Reg cpu = Reg::kR15;
  Reg result = Reg::kRax;
  std::uint32_t flags = 0;

  // rsp modulo 16 where the code begins: 0 or 8.
  unsigned rsp_mod_16 = 0;
  // Units:  bytes below rsp that the caller uses and a call must step over; a
  //         multiple of 8. 128 is the ABI's red zone.
  std::uint32_t red_zone_bytes = 128;
};

// The widest level of this CPU, every vector that it has as scratch, host pointers,
// everything else as above.
EmitConfig default_emit_config();

// Appends the copy of `size` bytes from [src] to [dst].
//
// constant 0           nothing (kGuest: the result register becomes 0)
// constant 1 to 16     in line, in pieces of 16, 8, 4, 2 and 1: no byte is stored twice
// up to inline_max     in line, every load before the first store; the last two pieces
//                      may overlap, each byte of them stored twice with one value
// above, or register   a call of vm_mem::memcpy_raw, or of vme_copy in kGuest, where
//                      this is the form of every size but 0
//
// What changes in line: one register of `scratch` (sizes 1 to 15 and pieces of them),
// the vectors used, nothing else: no flags, no stack. Where ymm or zmm registers are
// used and all of vectors 0 to 15 may change, vzeroupper ends the code; else the
// caller, who has vectors in use, gets their upper halves as they are.
// What changes at a call: the flags, `scratch`, `scratch_vectors`, `result`, mask
// registers, and the stack below rsp - red_zone_bytes. Of vectors that are not in
// scratch_vectors the width of `level` survives; wider halves do not. `dst`, `src`,
// the size and `cpu` survive unless they are in `scratch`.
//
// Needs:   rsp as rsp_mod_16 says; the direction flag clear.
// Errors:  kInvalidArgument    rsp as a register; operands that coincide where they
//                              must not (dst and src as host pointers; cpu with any
//                              operand or the result); the config's own numbers
//          kFailedPrecondition the size wants more scratch registers, apart from dst
//                              and src, than there are
//          kResourceExhausted  the buffer is too small; the message has the bytes
//                              needed
//          On an error the buffer is as it was.
// Source:  System V ABI, AMD64, 3.2.
absl::Status emit_memcpy_call(CodeBuffer& buffer, const EmitConfig& config, Reg dst, Reg src,
                              CopySize size);

}  // namespace vm_engine

#endif  // VM_ENGINE_EMIT_H_

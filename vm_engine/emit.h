// Guest memory as machine code: loads, stores, copies and fills are written into a buffer
// of the caller's, for a JIT of any make to run inside its own code. The code is position
// independent and follows the ABI of its ISA (System V, AAPCS64) where it calls.
//
// A block of a JIT: emit_load, emit_store, emit_memcpy_call, emit_memset_call where they
// belong; after its last instruction emit_slow_paths, once.
//
// Nothing that is emitted looks at vme_cpu::exit_request. A slow path whose helper completed
// goes back in line, also where the helper set it (VME_CODE_HIT of vm_engine/translation.h) or
// another thread did meanwhile. A JIT tests it where it can leave: between blocks, on the way
// back of loops, and behind a store that may be to the running block's own code.
//
// On every error the buffer is as it was. docs/jit.md has a JIT, whole.
#ifndef VM_ENGINE_EMIT_H_
#define VM_ENGINE_EMIT_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vm_engine/emit_config.h"

namespace vm_engine {

// The ISA and the widest level of this CPU, every vector that it has as scratch, host
// pointers, everything else as EmitConfig has it.
EmitConfig default_emit_config();
// For code that runs elsewhere: the caller-saved registers of `isa` as scratch, its
// lowest level, x28 (r15) for the vCPU, x27 (r14) for fastmem. Calls want `helpers`.
EmitConfig default_emit_config(Isa isa);

// Appends the copy of `size` bytes from [src] to [dst].
//
// kHostPointer
//   constant 0           nothing
//   constant 1 to 16     in line, in pieces of 16, 8, 4, 2 and 1: no byte is stored twice
//   up to inline_max     in line, every load before the first store; the last two pieces
//                        may overlap, each byte of them stored twice with one value
//   up to stub_max       a near stub, where there are stubs: every load before the first
//                        store, the last pieces overlap
//   above                a call of vm_mem::memcpy_raw
//   register             kAvx512: up to 64 bytes by one masked move, in line; else a
//                        near stub, where there are stubs; else the call
// kGuest
//   constant 0           `result` becomes 0
//   all else             a call of vme_copy; `result` is what it returns
// kSoftTlb, kFastmem
//   constant 0           nothing
//   up to inline_max     in line, where both ranges are in one page of plain memory each
//                        (kFastmem: where nothing faults), every load before the first
//                        store; else vme_copy. It is as vme_copy with the config's flags
//                        would have it, faults and overlap included
//   all else             a call of vme_copy
//                        Where bytes are left, the code goes on at config.exit.
// A form that wants more scratch registers, apart from the operands, than there are gives
// way to a call. emit_policy says which form a size takes, and why.
//
// What changes in line: in kHostPointer with a constant size one register of `scratch`
// (sizes 1 to 15 and pieces of them), the vectors used, nothing else: no flags, no stack.
// Otherwise also the flags, more of `scratch`, and k1 in the masked form. Where ymm or zmm
// registers are used and all of vectors 0 to 15 may change, vzeroupper ends the code; else
// the caller, who has vectors in use, gets their upper halves as they are.
// What changes at a call: the flags, `scratch`, `scratch_vectors`, `result` (guest modes),
// mask registers, and the stack below rsp - red_zone_bytes. Of vectors that are not in
// scratch_vectors the width of `level` survives; wider halves do not. `dst`, `src` and the
// size survive unless they are in `scratch`; `cpu` does in the guest modes and `fastmem_base`
// in kFastmem, scratch or not. In other modes neither is more than any register.
//
// AArch64: no code changes NZCV. In the guest modes all sizes in line are vectors'; a probe
// of the soft TLB takes three scratch registers, and a copy four. Near stubs take x30 and
// four more, and serve where those and their vectors are scratch. A pair of registers is
// one instruction and one fault site. The buffer's offsets are multiples of 4, and before
// code runs the caller does the instruction cache's maintenance, as CodeMemory does.
//
// Memory:  relaxed. In the guest modes 1, 2, 4 and 8 bytes are single-copy atomic where both
//          addresses are multiples of the size. Of more bytes in line nothing is: other
//          threads may see aligned words torn, which vme_copy moves whole. A copy whose
//          words others look at meanwhile has VME_ORDER_TSO_ELEM among its flags, or is in
//          kGuest.
//          A store over the end of a page stores nothing on x86-64 where either page is out
//          of reach. AArch64 guarantees less of a pair, and of a vector that is not aligned:
//          where the first page is out of reach and the second is not, bytes of the second
//          may have been stored that are not reported as done.
// Needs:   rsp as rsp_mod_16 says; the direction flag clear. In the guest modes what
//          `config` says of its registers; for kFastmem, and for HostFaults::kCaught, the
//          fault_sites registered (vme_code_register) before the code runs.
// Errors:  kInvalidArgument    no such register; operands that coincide where they
//                              must not (dst and src as host pointers; cpu with any
//                              operand or the result); the config's own numbers; a level
//                              that the ISA does not have; helpers without addresses for
//                              another ISA than this process's; no exit; stubs that
//                              were made for other code
//          kFailedPrecondition a stub out of reach; AArch64: an exit at an address, and no
//                              scratch register apart from what survives
//          kResourceExhausted  the buffer is too small; the message has the bytes
//                              needed
//          kUnimplemented      the ISA does not have this form
// Source:  System V ABI, AMD64, 3.2; AAPCS64, 6.1 and 6.2.
absl::Status emit_memcpy_call(CodeBuffer& buffer, const EmitConfig& config, Reg dst, Reg src,
                              CopySize size);

// Appends the fill of `size` bytes at [dst] with one byte: in line up to inline_max where
// the size is constant, else a call of vm_mem::memset_raw or vme_fill.
//
// What changes, Needs, Errors: as emit_memcpy_call; sizes in line take two scratch registers
// for the byte, and a byte in a register changes the flags. Where there are too few, it is
// the call.
absl::Status emit_memset_call(CodeBuffer& buffer, const EmitConfig& config, Reg dst, FillByte value,
                              CopySize size);

// Appends the load of op.bytes at guest virtual address (kHostPointer: host address)
// `gva` into all 64 bits of `dst`.
//
// kHostPointer, kFastmem  one instruction, and one or two more for ByteOrder::kBig (two
//                         more again where gva_bits exceeds arena_bits)
// kSoftTlb                ten on the hit path, and the byte order's; two scratch registers
//                         (AArch64: three)
// kGuest                  the call of vme_load, out of line
//
// What changes: `dst`, but not where the code goes on at config.exit, even if it is in
// `scratch` (unless it is config.result, too); the flags; on a hit two registers of `scratch`, on
// the slow path what a call changes (emit_memcpy_call). Memory:  an aligned access is single-copy
// atomic, a relaxed one; x86-64 hosts give more. Errors:  as emit_memcpy_call; kInvalidArgument:
// op.bytes is not 1, 2, 4 or 8; `dst` is
//          the register of the vCPU or of fastmem_base; kFailedPrecondition: fewer scratch
//          registers, apart from the operands, than it takes.
absl::Status emit_load(CodeBuffer& buffer, const EmitConfig& config, Reg dst, Reg gva, MemOp op);

// Appends the store of the low op.bytes of `value` at `gva`. As emit_load; in every mode but
// kGuest a scratch register for ByteOrder::kBig. op.extend is not looked at.
absl::Status emit_store(CodeBuffer& buffer, const EmitConfig& config, Reg gva, Reg value, MemOp op);

// Appends what the code emitted since needs out of line, and ties both together: call it
// where nothing falls through. Fills in land_off of the fault sites.
// Errors:  kResourceExhausted  the buffer is too small; the message has the bytes needed,
//                              as slow_path_bytes does
//          kFailedPrecondition a branch does not reach (AArch64: +-1 MiB of a condition)
absl::Status emit_slow_paths(CodeBuffer& buffer);
std::size_t slow_path_bytes(const CodeBuffer& buffer);

// Appends near stubs for code of the same isa, level, rsp_mod_16 and red_zone_bytes, which
// refuses others, and whose scratch registers hold all that they change, else it does without
// them. Says in `stubs` where they are. Once per code mapping; jumps must reach them: within
// 2 GiB (AArch64: 128 MiB).
// Needs:   nothing falls through into them; `stubs` outlives the emission of the code that
//          uses them.
// Errors:  as emit_memcpy_call; kFailedPrecondition: fewer than three scratch registers, or
//          no scratch vectors to speak of.
absl::Status emit_stubs(CodeBuffer& buffer, const EmitConfig& config, Stubs& stubs);

// What is emitted for a size.
enum class EmitForm : std::uint8_t {
  kNothing,
  kWords,    // in line, general purpose registers
  kVectors,  // in line, vector registers
  kMasked,   // in line, one masked vector
  kStub,     // a call of a near stub
  kCall,     // a call of the helper or the copy core
};
std::string_view emit_form_name(EmitForm form);  // "nothing", "words", "vectors", ...

// Sizes min_bytes to max_bytes take `form`; `in_register`: sizes known at run time.
struct EmitPolicyRow {
  std::uint64_t min_bytes = 0;
  std::uint64_t max_bytes = 0;
  bool in_register = false;
  EmitForm form = EmitForm::kCall;
  std::string_view why;
};

// What emit_memcpy_call does with this config, ascending, constant sizes first, of operands
// that are not in config.scratch. It is what the emitter itself asks; inline_max, stub_max
// and `stubs` override it.
// Errors:  kInvalidArgument as emit_memcpy_call, of the config's own numbers.
absl::StatusOr<std::vector<EmitPolicyRow>> emit_policy(const EmitConfig& config);

}  // namespace vm_engine

#endif  // VM_ENGINE_EMIT_H_

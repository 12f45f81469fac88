// What an emitter is told: registers, where code goes, how guest memory is reached, and
// what the code may change. Use vm_engine/emit.h.
#ifndef VM_ENGINE_EMIT_CONFIG_H_
#define VM_ENGINE_EMIT_CONFIG_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "vm_engine/vm_engine.h"

namespace vm_engine {

// What the code runs on. Each can be emitted on any host.
enum class Isa : std::uint8_t { kX86_64, kAArch64 };

// General purpose registers of either ISA, numbered as instructions encode them.
enum class Reg : std::uint8_t {
  kRax = 0,
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

  kX0 = 0,
  kX1,
  kX2,
  kX3,
  kX4,
  kX5,
  kX6,
  kX7,
  kX8,
  kX9,
  kX10,
  kX11,
  kX12,
  kX13,
  kX14,
  kX15,
  kX16,
  kX17,
  kX18,
  kX19,
  kX20,
  kX21,
  kX22,
  kX23,
  kX24,
  kX25,
  kX26,
  kX27,
  kX28,
  kX29,
  kX30,
};

// A set of general purpose registers, bit i for register i.
using RegSet = std::uint32_t;
constexpr RegSet reg_bit(Reg reg) { return RegSet{1} << static_cast<unsigned>(reg); }
// A set of vector registers, bit i for xmm<i>, ymm<i>, zmm<i> or v<i>.
using VectorSet = std::uint32_t;

// What a call of the ABI may change. x86-64: rax, rcx, rdx, rsi, rdi, r8 to r11.
inline constexpr RegSet kCallerSaved = 0x0fc7;
inline constexpr VectorSet kLowVectors = 0x0000ffff;
inline constexpr VectorSet kAllVectors = 0xffffffff;  // with AVX-512, and AArch64's
// AArch64: x0 to x17 and the link register; of the vectors v0 to v7 and v16 to v31.
inline constexpr RegSet kCallerSavedA64 = 0x4003ffff;
inline constexpr VectorSet kCallerSavedVectorsA64 = 0xffff00ff;

// How many bytes: known when the code is emitted, or in a register then.
class CopySize {
 public:
  static constexpr CopySize constant(std::uint64_t bytes) {
    return CopySize(bytes, Reg::kRax, Kind::kConstant);
  }
  // All 64 bits of the register count.
  static constexpr CopySize in(Reg reg) { return CopySize(0, reg, Kind::kRegister); }
  // The low 32 bits of the register count; what is above them may be anything.
  static constexpr CopySize in_low_half(Reg reg) { return CopySize(0, reg, Kind::kLowHalf); }

  constexpr bool in_register() const { return kind_ != Kind::kConstant; }
  constexpr bool is_low_half() const { return kind_ == Kind::kLowHalf; }
  constexpr std::uint64_t bytes() const { return bytes_; }
  constexpr Reg reg() const { return reg_; }

 private:
  enum class Kind : std::uint8_t { kConstant, kRegister, kLowHalf };
  constexpr CopySize(std::uint64_t bytes, Reg reg, Kind kind)
      : bytes_(bytes), reg_(reg), kind_(kind) {}

  std::uint64_t bytes_;
  Reg reg_;
  Kind kind_;
};

// The byte that memory is filled with: known when the code is emitted, or the low byte of
// a register then.
class FillByte {
 public:
  static constexpr FillByte constant(std::uint8_t byte) { return FillByte(byte, Reg::kRax, false); }
  static constexpr FillByte in(Reg reg) { return FillByte(0, reg, true); }

  constexpr bool in_register() const { return in_register_; }
  constexpr std::uint8_t byte() const { return byte_; }
  constexpr Reg reg() const { return reg_; }

 private:
  constexpr FillByte(std::uint8_t byte, Reg reg, bool in_register)
      : byte_(byte), reg_(reg), in_register_(in_register) {}

  std::uint8_t byte_;
  Reg reg_;
  bool in_register_;
};

// One access of a register's size or less.
enum class Extend : std::uint8_t { kZero, kSign };  // to 64 bits
enum class ByteOrder : std::uint8_t { kLittle, kBig };
struct MemOp {
  unsigned bytes = 8;  // 1, 2, 4 or 8
  Extend extend = Extend::kZero;
  ByteOrder order = ByteOrder::kLittle;  // of guest memory
};

enum class VectorLevel : std::uint8_t { kSse2, kAvx2, kAvx512, kNeon };

enum class AddressMode : std::uint8_t {
  // The registers hold host pointers to disjoint ranges. Nothing is promised about words:
  // guest memory that other vCPUs reach takes another mode.
  kHostPointer,
  // They hold guest virtual addresses; every access is a call of the engine's helper.
  kGuest,
  // Guest virtual addresses, reached through the arena at vme_cpu::fastmem_base: a fault
  // goes to the slow path by way of the buffer's fault_sites, which the caller registers.
  kFastmem,
  // Guest virtual addresses, reached through the vCPU's soft TLB; a miss, a device, and an
  // access that crosses a page take the slow path.
  kSoftTlb,
};

// What becomes of an access through the soft TLB that fails in the host: in memory of a file
// that was cut short, say.
enum class HostFaults : std::uint8_t {
  kNotExpected,  // it is nobody's, and ends the process
  kCaught,       // it goes to the slow path, by way of fault_sites as in kFastmem
};

// Where a slow path goes when its helper did not complete: code at an absolute address, or
// at an offset in the same CodeBuffer.
class ExitTarget {
 public:
  constexpr ExitTarget() = default;
  static constexpr ExitTarget at_address(std::uint64_t address) {
    return ExitTarget(Kind::kAddress, address);
  }
  static constexpr ExitTarget at_offset(std::uint64_t offset) {
    return ExitTarget(Kind::kOffset, offset);
  }

  constexpr bool exists() const { return kind_ != Kind::kNone; }
  constexpr bool is_offset() const { return kind_ == Kind::kOffset; }
  constexpr std::uint64_t value() const { return value_; }

 private:
  enum class Kind : std::uint8_t { kNone, kAddress, kOffset };
  constexpr ExitTarget(Kind kind, std::uint64_t value) : kind_(kind), value_(value) {}

  Kind kind_ = Kind::kNone;
  std::uint64_t value_ = 0;
};

// What emitted code calls, as absolute addresses where the code will run. 0: the function
// of this process, which only code of this process's own ISA can call.
struct HelperAddresses {
  std::uint64_t memcpy_raw = 0;
  std::uint64_t memset_raw = 0;
  std::uint64_t load = 0;   // vme_load
  std::uint64_t store = 0;  // vme_store
  std::uint64_t copy = 0;   // vme_copy
  std::uint64_t fill = 0;   // vme_fill
  std::uint64_t write = 0;  // vme_write
};

// The near stubs of a code buffer, which emit_stubs makes. Everything is emitted with them
// by offsets, so that they serve every CodeBuffer of the same mapping, at whichever
// address it is written.
struct Stubs {
  const std::byte* base = nullptr;  // what the offsets count from, as written
  // Offsets; 0: no such stub.
  std::uint32_t copy_128 = 0;  // 65 to 128 bytes
  std::uint32_t copy_256 = 0;  // 129 to 256
  std::uint32_t copy_any = 0;  // any number of bytes, memcpy_raw's from 65 on
  // What they take and change: the registers of the three operands, in this order.
  Reg dst = Reg::kRax;
  Reg src = Reg::kRax;
  Reg size = Reg::kRax;
  RegSet changes = 0;
  VectorSet changes_vectors = 0;
  // What they were made for: those of the config, which code that uses them has to share.
  Isa isa = Isa::kX86_64;
  VectorLevel level = VectorLevel::kSse2;
  unsigned rsp_mod_16 = 0;
  std::uint32_t red_zone_bytes = 0;
};

// Code that waits for emit_slow_paths. Its members are the emitter's.
struct SlowPath {
  struct Link {
    std::size_t from = 0;  // of the instruction that jumps
    std::size_t to = 0;
  };
  struct Pad {
    std::size_t site = 0;  // index into fault_sites
    std::size_t to = 0;
  };
  Isa isa = Isa::kX86_64;
  std::vector<std::byte> code = {};
  std::vector<Link> entries = {};  // from the buffer into `code`
  std::vector<Link> leaves = {};   // from `code` into the buffer
  std::vector<Pad> pads = {};      // where a fault goes on, in `code`
};

// Where code goes: appended at bytes[used], which moves on. All offsets count from
// bytes.data().
struct CodeBuffer {
  std::span<std::byte> bytes;
  std::size_t used = 0;
  // The instructions that may fault, by ascending pc_off. land_off is 0 until
  // emit_slow_paths.
  std::vector<vme_site> fault_sites = {};
  std::vector<SlowPath> slow_paths = {};
};

struct EmitConfig {
  VectorLevel level = VectorLevel::kSse2;
  AddressMode address_mode = AddressMode::kHostPointer;
  // Units:  bytes. Constant sizes up to here are copied and filled in line, those up to
  //         stub_max by a near stub where `stubs` has one.
  std::size_t inline_max = 64;
  std::size_t stub_max = 256;

  // What the emitted code may change. Code in line uses the lowest of these. A call
  // saves and restores what it would change beyond them, vectors at the width of
  // `level`. Vectors 16 to 31 need kAvx512 or kNeon.
  RegSet scratch = kCallerSaved;
  VectorSet scratch_vectors = kLowVectors;

  // All guest modes: the register that holds the vme_cpu*, that which gets the bytes not
  // done (it may always change), and the flags of vme_copy, of which loads take the
  // source's mmu mode and stores the destination's.
  Reg cpu = Reg::kR15;
  Reg result = Reg::kRax;
  std::uint32_t flags = 0;

  // rsp modulo 16 where the code begins: 0 or 8. AArch64: 0.
  unsigned rsp_mod_16 = 0;
  // Units:  bytes below rsp that the caller uses and a call must step over; a
  //         multiple of 8 (AArch64: 16). 128 is the ABI's red zone.
  std::uint32_t red_zone_bytes = 128;

  Isa isa = Isa::kX86_64;
  const Stubs* stubs = nullptr;  // null: no stub is used
  HelperAddresses helpers = {};

  // kSoftTlb and kFastmem, and loads and stores in kGuest: where they go on when the
  // helper did not complete. There `result` is not 0, vme_cpu::fault says why, with
  // `site` and `guest_pc` as below, the register that a load was to change is as before,
  // and what the access lets survive has survived.
  ExitTarget exit = {};
  std::uint16_t cookie = VME_NO_SITE;
  std::uint64_t guest_pc = 0;

  // kFastmem: the register that holds vme_cpu::fastmem_base; log2 of the arena's bytes;
  // and the bits that the register of a guest virtual address can have set. Where that
  // is more than the arena has, a check goes before the access.
  Reg fastmem_base = Reg::kR14;
  unsigned arena_bits = 36;
  unsigned gva_bits = 64;

  // kSoftTlb: kCaught where guest memory is recoverable (vm_mem/ram_options.h). It costs
  // code out of line, and in-line copies of several pieces with VME_BACKWARD,
  // VME_ATOMIC_OR_NOTHING or (AArch64) VME_ONCE become calls; the caller registers the sites.
  HostFaults host_faults = HostFaults::kNotExpected;
};

}  // namespace vm_engine

#endif  // VM_ENGINE_EMIT_CONFIG_H_

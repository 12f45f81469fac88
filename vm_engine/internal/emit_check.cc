// What the emitter refuses whatever the ISA, and what of it the ISA has a say in.
#include <bit>
#include <utility>

#include "absl/strings/str_format.h"
#include "vm_engine/internal/emit_back_end.h"

namespace vm_engine::internal {
namespace {

// The largest offset in line stays an immediate displacement whatever the caller says.
constexpr std::size_t kInlineLimit = 4096;
constexpr std::uint32_t kRedZoneLimit = 4096;

absl::Status check_exit(const EmitConfig& config) {
  if (config.exit.exists()) return absl::OkStatus();
  return absl::InvalidArgumentError("guest accesses need an exit for those that fail");
}

bool is_among(RegSet set, Reg reg) {
  return static_cast<unsigned>(reg) < 32 && (set & reg_bit(reg)) != 0;
}

absl::Status check_sizes(const EmitConfig& config) {
  if (config.inline_max > kInlineLimit) {
    return absl::InvalidArgumentError(
        absl::StrFormat("inline_max is %d; at most %d", config.inline_max, kInlineLimit));
  }
  if (config.arena_bits < VME_PAGE_BITS || config.arena_bits > 63 || config.gva_bits > 64 ||
      config.gva_bits == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("arena_bits is %d, gva_bits %d; they can be %d to 63 and 1 to 64",
                        config.arena_bits, config.gva_bits, VME_PAGE_BITS));
  }
  return absl::OkStatus();
}

absl::Status check_modes(const EmitConfig& config) {
  const std::uint32_t source = config.flags >> VME_MMU_SRC_SHIFT & 15;
  const std::uint32_t destination = config.flags >> VME_MMU_DST_SHIFT & 15;
  const bool taken = config.address_mode != AddressMode::kHostPointer;
  if (!taken || (source < VME_MMU_MODES && destination < VME_MMU_MODES)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("flags have mmu modes %d and %d; there are %d",
                                                    source, destination,
                                                    static_cast<int>(VME_MMU_MODES)));
}

absl::Status check_stack(const EmitConfig& config) {
  const std::uint32_t step = config.isa == Isa::kAArch64 ? 16 : 8;
  if (config.rsp_mod_16 % 8 != 0 || config.rsp_mod_16 > 16 - step) {
    return absl::InvalidArgumentError(
        absl::StrFormat("rsp_mod_16 is %d; it can be 0 or, on x86-64, 8", config.rsp_mod_16));
  }
  if (config.red_zone_bytes % step != 0 || config.red_zone_bytes > kRedZoneLimit) {
    return absl::InvalidArgumentError(
        absl::StrFormat("red_zone_bytes is %d; it must be a multiple of %d up to %d",
                        config.red_zone_bytes, step, kRedZoneLimit));
  }
  return absl::OkStatus();
}

absl::Status check_level(const BackEnd& isa, const EmitConfig& config) {
  if (!isa.has_level(config.level) || config.address_mode > AddressMode::kSoftTlb) {
    return absl::InvalidArgumentError("no such vector level of this ISA, or no such address mode");
  }
  if ((config.scratch_vectors & ~isa.vectors(config.level)) != 0) {
    return absl::InvalidArgumentError("vectors 16 to 31 need AVX-512 or NEON");
  }
  if ((config.scratch & ~isa.registers()) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "scratch is %#x; its registers can be those of %#x", config.scratch, isa.registers()));
  }
  return absl::OkStatus();
}

// What stubs do with the stack and with vectors is what they were made for.
absl::Status check_stubs(const EmitConfig& config) {
  if (config.stubs == nullptr) return absl::OkStatus();
  const Stubs& stubs = *config.stubs;
  if (stubs.isa == config.isa && stubs.level == config.level &&
      stubs.rsp_mod_16 == config.rsp_mod_16 && stubs.red_zone_bytes == config.red_zone_bytes) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "the stubs are for ISA %d, level %d, rsp_mod_16 %d, red_zone_bytes %d; the config has %d, "
      "%d, %d, %d",
      static_cast<int>(stubs.isa), static_cast<int>(stubs.level), stubs.rsp_mod_16,
      stubs.red_zone_bytes, static_cast<int>(config.isa), static_cast<int>(config.level),
      config.rsp_mod_16, config.red_zone_bytes));
}

absl::Status check_guest_registers(const BackEnd& isa, const EmitConfig& config,
                                   std::span<const Reg> operands) {
  const bool fastmem = config.address_mode == AddressMode::kFastmem;
  if (!is_among(isa.registers(), config.cpu) || !is_among(isa.registers(), config.result) ||
      (fastmem && !is_among(isa.registers(), config.fastmem_base))) {
    return absl::InvalidArgumentError("no such register for the vCPU, the result or fastmem_base");
  }
  RegSet used = reg_bit(config.result);
  for (const Reg reg : operands) used |= reg_bit(reg);
  if (is_among(used, config.cpu)) {
    return absl::InvalidArgumentError("the vCPU's register is also an operand or the result");
  }
  if (fastmem && is_among(used | reg_bit(config.cpu), config.fastmem_base)) {
    return absl::InvalidArgumentError(
        "fastmem_base is also an operand, the result or the vCPU's register");
  }
  return absl::OkStatus();
}

}  // namespace

const BackEnd* back_end_of(Isa isa) {
  switch (isa) {
    case Isa::kX86_64: return &x86_64_back_end();
    case Isa::kAArch64: return &aarch64_back_end();
  }
  return nullptr;
}

RegSet operands_of(const CopyRequest& request) {
  return reg_bit(request.dst) | reg_bit(request.src) |
         (request.size.in_register() ? reg_bit(request.size.reg()) : 0);
}
RegSet operands_of(const FillRequest& request) {
  return reg_bit(request.dst) | (request.value.in_register() ? reg_bit(request.value.reg()) : 0) |
         (request.size.in_register() ? reg_bit(request.size.reg()) : 0);
}
RegSet operands_of(const AccessRequest& request) {
  return reg_bit(request.reg) | reg_bit(request.gva);
}

bool is_whole_elements(const EmitConfig& config, std::uint64_t bytes) {
  const std::uint32_t log2 = config.flags >> VME_ELEM_SHIFT & 7;
  return log2 <= 3 && bytes % (std::uint64_t{1} << log2) == 0;
}

absl::Status check_config(const BackEnd& isa, const EmitConfig& config) {
  if (absl::Status bad = check_sizes(config); !bad.ok()) return bad;
  if (absl::Status bad = check_stack(config); !bad.ok()) return bad;
  if (absl::Status bad = check_modes(config); !bad.ok()) return bad;
  if (absl::Status bad = check_level(isa, config); !bad.ok()) return bad;
  return check_stubs(config);
}

absl::Status check_operands(const BackEnd& isa, const EmitConfig& config,
                            std::span<const Reg> operands) {
  for (const Reg reg : operands) {
    if (is_among(isa.registers(), reg)) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("no such register for an operand: %d", static_cast<int>(reg)));
  }
  if (config.address_mode == AddressMode::kHostPointer || operands.empty()) {
    return absl::OkStatus();
  }
  return check_guest_registers(isa, config, operands);
}

absl::Status check_access(const EmitConfig& config, MemOp op) {
  if (!std::has_single_bit(op.bytes) || op.bytes > 8 || op.extend > Extend::kSign ||
      op.order > ByteOrder::kBig) {
    return absl::InvalidArgumentError(
        absl::StrFormat("an access of %d bytes; it can have 1, 2, 4 or 8", op.bytes));
  }
  return config.address_mode == AddressMode::kHostPointer ? absl::OkStatus() : check_exit(config);
}

absl::Status check_block_exit(const EmitConfig& config) {
  return config.address_mode <= AddressMode::kGuest ? absl::OkStatus() : check_exit(config);
}

}  // namespace vm_engine::internal

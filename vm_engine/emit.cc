#include "vm_engine/emit.h"

#include <algorithm>
#include <bit>
#include <initializer_list>

#include "absl/strings/str_format.h"
#include "vm_engine/internal/copy_code.h"
#include "vm_mem/simd_memcpy.h"

namespace vm_engine {
namespace {

using internal::CopyCode;
using internal::InlinePlan;
using internal::plan_inline;

// The largest offset in line stays a signed displacement whatever the caller says.
constexpr std::size_t kInlineLimit = 4096;
constexpr std::uint32_t kRedZoneLimit = 4096;

bool is_reg(Reg reg) { return static_cast<unsigned>(reg) < 16 && reg != Reg::kRsp; }

absl::Status check_numbers(const EmitConfig& config) {
  if (config.rsp_mod_16 != 0 && config.rsp_mod_16 != 8) {
    return absl::InvalidArgumentError(
        absl::StrFormat("rsp_mod_16 is %d; it can be 0 or 8", config.rsp_mod_16));
  }
  if (config.red_zone_bytes % 8 != 0 || config.red_zone_bytes > kRedZoneLimit) {
    return absl::InvalidArgumentError(
        absl::StrFormat("red_zone_bytes is %d; it must be a multiple of 8 up to %d",
                        config.red_zone_bytes, kRedZoneLimit));
  }
  if (config.inline_max > kInlineLimit) {
    return absl::InvalidArgumentError(
        absl::StrFormat("inline_max is %d; at most %d", config.inline_max, kInlineLimit));
  }
  if (config.level > VectorLevel::kAvx512 || config.address_mode > AddressMode::kGuest) {
    return absl::InvalidArgumentError("no such vector level or address mode");
  }
  if (config.level != VectorLevel::kAvx512 && config.scratch_vectors > kLowVectors) {
    return absl::InvalidArgumentError("vectors 16 to 31 need AVX-512");
  }
  if ((config.scratch & reg_bit(Reg::kRsp)) != 0) {
    return absl::InvalidArgumentError("rsp cannot be a scratch register");
  }
  return absl::OkStatus();
}

absl::Status check_guest_registers(const EmitConfig& config, Reg dst, Reg src, CopySize size) {
  if (!is_reg(config.cpu) || !is_reg(config.result)) {
    return absl::InvalidArgumentError("no such register for the vCPU or the result");
  }
  const bool shared = config.cpu == dst || config.cpu == src || config.cpu == config.result ||
                      (size.in_register() && config.cpu == size.reg());
  if (!shared) return absl::OkStatus();
  return absl::InvalidArgumentError("the vCPU's register is also an operand or the result");
}

absl::Status check_registers(const EmitConfig& config, Reg dst, Reg src, CopySize size) {
  if (!is_reg(dst) || !is_reg(src) || (size.in_register() && !is_reg(size.reg()))) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "no such register for an operand: dst %d, src %d, size %d", static_cast<int>(dst),
        static_cast<int>(src), static_cast<int>(size.reg())));
  }
  if (config.address_mode == AddressMode::kGuest) {
    return check_guest_registers(config, dst, src, size);
  }
  if (dst != src) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "register %d is both dst and src; host ranges must be disjoint", static_cast<int>(dst)));
}

absl::Status emit_inline(CopyCode& code, const EmitConfig& config, Reg dst, Reg src,
                         std::uint64_t bytes) {
  const auto free = static_cast<RegSet>(config.scratch & ~(reg_bit(dst) | reg_bit(src)));
  const InlinePlan plan = plan_inline(bytes, config.level);
  const int vectors = std::popcount(config.scratch_vectors);
  if (plan.count > static_cast<unsigned>(vectors)) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%d bytes in line take %d scratch vectors; there are %d", bytes, plan.count, vectors));
  }
  if (plan.count == 0 && free == 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%d bytes in line take a scratch register apart from dst and src", bytes));
  }
  if (plan.count != 0) {
    code.copy_vectors(bytes, plan, config.scratch_vectors);
  } else {
    code.copy_words(bytes, static_cast<Reg>(std::countr_zero(free)));
  }
  return absl::OkStatus();
}

absl::Status emit(CopyCode& code, const EmitConfig& config, Reg dst, Reg src, CopySize size) {
  const bool guest = config.address_mode == AddressMode::kGuest;
  if (!size.in_register() && size.bytes() == 0) {
    if (guest) code.clear_result();
    return absl::OkStatus();
  }
  if (!guest && !size.in_register() && size.bytes() <= config.inline_max) {
    return emit_inline(code, config, dst, src, size.bytes());
  }
  code.call(size);
  return absl::OkStatus();
}

absl::Status append(CodeBuffer& buffer, const asmjit::CodeBuffer& made) {
  const std::size_t left = buffer.bytes.size() - std::min(buffer.used, buffer.bytes.size());
  if (made.size() > left) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("the code takes %d bytes; the buffer has %d left", made.size(), left));
  }
  vm_mem::memcpy_raw(buffer.bytes.data() + buffer.used, made.data(), made.size());
  buffer.used += made.size();
  return absl::OkStatus();
}

class FirstError : public asmjit::ErrorHandler {
 public:
  void handleError(asmjit::Error error, const char*, asmjit::BaseEmitter*) override {
    if (first == asmjit::kErrorOk) first = error;
  }
  asmjit::Error first = asmjit::kErrorOk;
};

}  // namespace

EmitConfig default_emit_config() {
  EmitConfig config;
  if (vm_mem::has_avx2()) config.level = VectorLevel::kAvx2;
  if (vm_mem::has_avx512()) {
    config.level = VectorLevel::kAvx512;
    config.scratch_vectors = kAllVectors;
  }
  return config;
}

absl::Status emit_memcpy_call(CodeBuffer& buffer, const EmitConfig& config, Reg dst, Reg src,
                              CopySize size) {
  if (absl::Status bad = check_numbers(config); !bad.ok()) return bad;
  if (absl::Status bad = check_registers(config, dst, src, size); !bad.ok()) return bad;
  FirstError errors;
  asmjit::CodeHolder holder;
  holder.init(asmjit::Environment(asmjit::Arch::kX64));
  holder.setErrorHandler(&errors);
  asmjit::x86::Assembler assembler(&holder);
  CopyCode code(assembler, config, dst, src);
  if (absl::Status bad = emit(code, config, dst, src, size); !bad.ok()) return bad;
  if (errors.first != asmjit::kErrorOk) {
    return absl::InternalError(asmjit::DebugUtils::errorAsString(errors.first));
  }
  return append(buffer, holder.textSection()->buffer());
}

}  // namespace vm_engine

// x86-64 for the emitter.
#include <asmjit/x86.h>

#include <bit>

#include "absl/strings/str_format.h"
#include "vm_engine/internal/copy_code.h"
#include "vm_engine/internal/emit_back_end.h"

namespace vm_engine::internal {
namespace {

constexpr RegSet kX86Registers = 0xffef;  // all but rsp

class FirstError : public asmjit::ErrorHandler {
 public:
  void handleError(asmjit::Error error, const char*, asmjit::BaseEmitter*) override {
    if (first == asmjit::kErrorOk) first = error;
  }
  asmjit::Error first = asmjit::kErrorOk;
};

absl::Status inline_copy(CopyCode& code, const EmitConfig& config, const CopyRequest& request) {
  const std::uint64_t bytes = request.size.bytes();
  const RegSet free = config.scratch & ~(reg_bit(request.dst) | reg_bit(request.src));
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

absl::Status write_copy(CopyCode& code, const EmitConfig& config, const CopyRequest& request,
                        EmitForm form) {
  const bool guest = config.address_mode == AddressMode::kGuest;
  switch (form) {
    case EmitForm::kNothing:
      if (guest) code.clear_result();
      return absl::OkStatus();
    case EmitForm::kWords:
    case EmitForm::kVectors: return inline_copy(code, config, request);
    default: code.call(request.size); return absl::OkStatus();
  }
}

class X86BackEnd : public BackEnd {
 public:
  RegSet registers() const override { return kX86Registers; }
  bool has_level(VectorLevel level) const override { return level <= VectorLevel::kAvx512; }
  VectorSet vectors(VectorLevel level) const override {
    return level == VectorLevel::kAvx512 ? kAllVectors : kLowVectors;
  }
  EmitConfig default_config() const override { return {}; }

  Plan plan_copy(const EmitConfig& config, std::uint64_t bytes) const override {
    if (bytes == 0) return {EmitForm::kNothing, "nothing to copy"};
    if (config.address_mode == AddressMode::kGuest) return {EmitForm::kCall, "guest addresses"};
    if (bytes > config.inline_max) return {EmitForm::kCall, "above inline_max"};
    if (bytes < 16) return {EmitForm::kWords, "no byte twice"};
    return {EmitForm::kVectors, "loads before stores"};
  }
  std::vector<EmitPolicyRow> plan_register_copy(const EmitConfig&) const override {
    return {{.max_bytes = UINT64_MAX, .in_register = true, .why = "the size is known at run time"}};
  }

  absl::Status copy(const EmitConfig& config, const CopyRequest& request,
                    Fragment& out) const override {
    if (config.address_mode > AddressMode::kGuest) return missing("copies in this address mode");
    FirstError errors;
    asmjit::CodeHolder holder;
    holder.init(asmjit::Environment(asmjit::Arch::kX64));
    holder.setErrorHandler(&errors);
    asmjit::x86::Assembler assembler(&holder);
    CopyCode code(assembler, config, request.dst, request.src);
    const EmitForm form =
        request.size.in_register() ? EmitForm::kCall : plan_copy(config, request.size.bytes()).form;
    if (absl::Status bad = write_copy(code, config, request, form); !bad.ok()) return bad;
    if (errors.first != asmjit::kErrorOk) {
      return absl::InternalError(asmjit::DebugUtils::errorAsString(errors.first));
    }
    const auto& made = holder.textSection()->buffer();
    const auto* const bytes = reinterpret_cast<const std::byte*>(made.data());
    out.code.assign(bytes, bytes + made.size());
    return absl::OkStatus();
  }
  absl::Status fill(const EmitConfig&, const FillRequest&, Fragment&) const override {
    return missing("fills");
  }
  absl::Status load(const EmitConfig&, const AccessRequest&, Fragment&) const override {
    return missing("loads");
  }
  absl::Status store(const EmitConfig&, const AccessRequest&, Fragment&) const override {
    return missing("stores");
  }
  absl::Status stubs(const EmitConfig&, Fragment&, Stubs&) const override {
    return missing("stubs");
  }

  bool reaches(std::span<const std::byte, 4>, std::int64_t distance) const override {
    return distance - 4 == static_cast<std::int32_t>(distance - 4);
  }
  void link(std::span<std::byte, 4> field, std::int64_t distance) const override {
    const auto displacement = static_cast<std::uint32_t>(distance - 4);
    for (std::size_t i = 0; i < 4; ++i) field[i] = static_cast<std::byte>(displacement >> (8 * i));
  }

 private:
  static absl::Status missing(const char* what) {
    return absl::UnimplementedError(absl::StrFormat("x86-64 code has no %s", what));
  }
};

}  // namespace

const BackEnd& x86_64_back_end() {
  static const X86BackEnd back_end;
  return back_end;
}

}  // namespace vm_engine::internal

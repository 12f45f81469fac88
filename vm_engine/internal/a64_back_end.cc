// AArch64 for the emitter.
#include <algorithm>
#include <iterator>

#include "absl/strings/str_format.h"
#include "vm_engine/internal/a64_access_code.h"
#include "vm_engine/internal/a64_copy_code.h"
#include "vm_engine/internal/emit_back_end.h"

namespace vm_engine::internal::aarch64 {
namespace {

constexpr RegSet kA64Registers = 0x7fffffff & ~reg_bit(Reg::kX18);  // x18 is the platform's

// Where a branch has its distance, in instructions.
struct BranchField {
  std::uint32_t mask;
  std::uint32_t pattern;
  unsigned shift;
  unsigned bits;
};
constexpr BranchField kBranches[] = {
    {0x7c000000, 0x14000000, 0, 26},  // b, bl
    {0x7e000000, 0x34000000, 5, 19},  // cbz, cbnz
};

std::uint32_t instruction_at(std::span<const std::byte, 4> field) {
  std::uint32_t word = 0;
  for (std::size_t i = 4; i-- > 0;) word = word << 8 | std::to_integer<std::uint32_t>(field[i]);
  return word;
}

const BranchField* branch_field(std::uint32_t word) {
  const auto* const found =
      std::find_if(std::begin(kBranches), std::end(kBranches),
                   [&](const BranchField& kind) { return (word & kind.mask) == kind.pattern; });
  return found == std::end(kBranches) ? nullptr : found;
}

// Has `write` fill in an emission, and moves it into the Fragment.
template <typename Write>
absl::Status emit(const EmitConfig& config, RegSet operands, Fragment& out, Write write) {
  if (out.origin % 4 != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the buffer is used up to byte %d: AArch64 code is aligned to 4", out.origin));
  }
  if (config.exit.is_offset() && config.exit.value() % 4 != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the exit at byte %d is not aligned to 4", config.exit.value()));
  }
  A64Emission emission(config, operands, out);
  write(emission);
  return emission.finish();
}

class A64BackEnd : public BackEnd {
 public:
  RegSet registers() const override { return kA64Registers; }
  bool has_level(VectorLevel level) const override { return level == VectorLevel::kNeon; }
  VectorSet vectors(VectorLevel) const override { return kAllVectors; }
  EmitConfig default_config() const override {
    return {.level = VectorLevel::kNeon,
            .scratch = kCallerSavedA64,
            .scratch_vectors = kCallerSavedVectorsA64,
            .cpu = Reg::kX28,
            .result = Reg::kX0,
            .red_zone_bytes = 0,
            .isa = Isa::kAArch64,
            .fastmem_base = Reg::kX27};
  }

  Plan plan_copy(const EmitConfig& config, std::uint64_t bytes) const override {
    return aarch64::plan_copy(config, bytes, config.scratch & ~taken_by(config, 0));
  }
  std::vector<EmitPolicyRow> plan_register_copy(const EmitConfig& config) const override {
    const Plan plan = aarch64::plan_register_copy(config);
    return {{.max_bytes = UINT64_MAX, .in_register = true, .form = plan.form, .why = plan.why}};
  }

  absl::Status copy(const EmitConfig& config, const CopyRequest& request,
                    Fragment& out) const override {
    return emit(config, operands_of(request), out,
                [&](A64Emission& emission) { write_copy(emission, request); });
  }
  absl::Status fill(const EmitConfig& config, const FillRequest& request,
                    Fragment& out) const override {
    return emit(config, operands_of(request), out,
                [&](A64Emission& emission) { write_fill(emission, request); });
  }
  absl::Status load(const EmitConfig& config, const AccessRequest& request,
                    Fragment& out) const override {
    return emit(config, operands_of(request), out,
                [&](A64Emission& emission) { write_load(emission, request); });
  }
  absl::Status store(const EmitConfig& config, const AccessRequest& request,
                     Fragment& out) const override {
    return emit(config, operands_of(request), out,
                [&](A64Emission& emission) { write_store(emission, request); });
  }
  absl::Status stubs(const EmitConfig& config, Fragment& out, Stubs& stubs) const override {
    EmitConfig host = config;
    host.address_mode = AddressMode::kHostPointer;
    return emit(host, 0, out, [&](A64Emission& emission) { write_stubs(emission, stubs); });
  }

  bool reaches(std::span<const std::byte, 4> field, std::int64_t distance) const override {
    const BranchField* const kind = branch_field(instruction_at(field));
    if (kind == nullptr || distance % 4 != 0) return false;
    const std::int64_t limit = std::int64_t{1} << (kind->bits + 1);  // signed, of 4 bytes
    return distance >= -limit && distance < limit;
  }
  void link(std::span<std::byte, 4> field, std::int64_t distance) const override {
    std::uint32_t word = instruction_at(field);
    const BranchField* const kind = branch_field(word);
    if (kind == nullptr) return;
    const std::uint32_t mask = ((1u << kind->bits) - 1) << kind->shift;
    const auto words = static_cast<std::uint32_t>(distance / 4);
    word = (word & ~mask) | (words << kind->shift & mask);
    for (std::size_t i = 0; i < 4; ++i) field[i] = static_cast<std::byte>(word >> (8 * i));
  }
};

}  // namespace
}  // namespace vm_engine::internal::aarch64

namespace vm_engine::internal {

const BackEnd& aarch64_back_end() {
  static const aarch64::A64BackEnd back_end;
  return back_end;
}

}  // namespace vm_engine::internal

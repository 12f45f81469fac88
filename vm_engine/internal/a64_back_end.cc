// AArch64 for the emitter.
#include "vm_engine/internal/emit_back_end.h"

namespace vm_engine::internal {
namespace {

constexpr RegSet kA64Registers = 0x7fffffff & ~reg_bit(Reg::kX18);  // x18 is the platform's

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

  Plan plan_copy(const EmitConfig&, std::uint64_t) const override {
    return {EmitForm::kCall, "the only form"};
  }
  std::vector<EmitPolicyRow> plan_register_copy(const EmitConfig&) const override {
    return {{.max_bytes = UINT64_MAX, .in_register = true, .why = "the only form"}};
  }

  absl::Status copy(const EmitConfig&, const CopyRequest&, Fragment&) const override {
    return missing();
  }
  absl::Status fill(const EmitConfig&, const FillRequest&, Fragment&) const override {
    return missing();
  }
  absl::Status load(const EmitConfig&, const AccessRequest&, Fragment&) const override {
    return missing();
  }
  absl::Status store(const EmitConfig&, const AccessRequest&, Fragment&) const override {
    return missing();
  }
  absl::Status stubs(const EmitConfig&, Fragment&, Stubs&) const override { return missing(); }

  bool reaches(std::span<const std::byte, 4>, std::int64_t) const override { return false; }
  void link(std::span<std::byte, 4>, std::int64_t) const override {}

 private:
  static absl::Status missing() { return absl::UnimplementedError("no AArch64 code"); }
};

}  // namespace

const BackEnd& aarch64_back_end() {
  static const A64BackEnd back_end;
  return back_end;
}

}  // namespace vm_engine::internal

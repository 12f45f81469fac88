// x86-64 for the emitter.
#include "vm_engine/internal/emit_back_end.h"
#include "vm_engine/internal/x86_access.h"
#include "vm_engine/internal/x86_copy.h"
#include "vm_engine/internal/x86_plan.h"

namespace vm_engine::internal {
namespace {

constexpr RegSet kX86Registers = 0xffff & ~reg_bit(Reg::kRsp);

class X86BackEnd : public BackEnd {
 public:
  RegSet registers() const override { return kX86Registers; }
  bool has_level(VectorLevel level) const override { return level <= VectorLevel::kAvx512; }
  VectorSet vectors(VectorLevel level) const override {
    return level == VectorLevel::kAvx512 ? kAllVectors : kLowVectors;
  }
  EmitConfig default_config() const override { return {}; }

  Plan plan_copy(const EmitConfig& config, std::uint64_t bytes) const override {
    return x86_plan_copy(config, bytes, free_registers(config, 0));
  }
  std::vector<EmitPolicyRow> plan_register_copy(const EmitConfig& config) const override {
    return x86_plan_register_copy(config, free_registers(config, 0));
  }

  absl::Status copy(const EmitConfig& config, const CopyRequest& request,
                    Fragment& out) const override {
    return x86_copy(config, request, out);
  }
  absl::Status fill(const EmitConfig& config, const FillRequest& request,
                    Fragment& out) const override {
    return x86_fill(config, request, out);
  }
  absl::Status load(const EmitConfig& config, const AccessRequest& request,
                    Fragment& out) const override {
    return x86_load(config, request, out);
  }
  absl::Status store(const EmitConfig& config, const AccessRequest& request,
                     Fragment& out) const override {
    return x86_store(config, request, out);
  }
  absl::Status stubs(const EmitConfig& config, Fragment& out, Stubs& stubs) const override {
    return x86_stubs(config, out, stubs);
  }

  // The displacement counts from the field's end.
  bool reaches(std::span<const std::byte, 4>, std::int64_t distance) const override {
    return distance - 4 == static_cast<std::int32_t>(distance - 4);
  }
  void link(std::span<std::byte, 4> field, std::int64_t distance) const override {
    const auto displacement = static_cast<std::uint32_t>(distance - 4);
    for (std::size_t i = 0; i < 4; ++i) field[i] = static_cast<std::byte>(displacement >> (8 * i));
  }
};

}  // namespace

const BackEnd& x86_64_back_end() {
  static const X86BackEnd back_end;
  return back_end;
}

}  // namespace vm_engine::internal

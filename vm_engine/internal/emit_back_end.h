// What an ISA does for the emitter: one implementation each, x86_64_back_end() and
// aarch64_back_end(). What reaches it has passed check_emit(); emit.cc puts what it makes
// into the caller's buffer.
#ifndef VM_ENGINE_INTERNAL_EMIT_BACK_END_H_
#define VM_ENGINE_INTERNAL_EMIT_BACK_END_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "vm_engine/emit.h"

namespace vm_engine::internal {

// Code on its way into a buffer, and what hangs on it. All offsets count from the
// buffer's start; the code's own first byte lands at `origin`.
struct Fragment {
  struct StubCall {
    std::size_t from = 0;    // of the branch's field
    std::uint32_t stub = 0;  // offset from Stubs::base
  };
  std::size_t origin = 0;
  std::size_t first_site = 0;  // index in fault_sites that sites[0] will have

  std::vector<std::byte> code = {};
  std::vector<vme_site> sites = {};
  std::vector<StubCall> stub_calls = {};
  std::optional<SlowPath> slow = {};
};

struct CopyRequest {
  Reg dst = Reg::kRax;
  Reg src = Reg::kRax;
  CopySize size = CopySize::constant(0);
};
struct FillRequest {
  Reg dst = Reg::kRax;
  FillByte value = FillByte::constant(0);
  CopySize size = CopySize::constant(0);
};
struct AccessRequest {
  Reg reg = Reg::kRax;  // loaded or stored
  Reg gva = Reg::kRax;
  MemOp op;
};

RegSet operands_of(const CopyRequest& request);
RegSet operands_of(const FillRequest& request);
RegSet operands_of(const AccessRequest& request);

// The form of a size, and why. What the forms need of a config is judged here and nowhere
// else, so that emit_policy tells the truth.
struct Plan {
  EmitForm form = EmitForm::kCall;
  std::string_view why;
};

// Whether `bytes` are whole elements of the config's flags; those of more than 8 bytes, which
// there are not, the helper refuses.
bool is_whole_elements(const EmitConfig& config, std::uint64_t bytes);

// Whether accesses in line are fault sites.
inline bool has_sites(const EmitConfig& config) {
  return config.address_mode == AddressMode::kFastmem ||
         (config.address_mode == AddressMode::kSoftTlb &&
          config.host_faults == HostFaults::kCaught);
}
// vme_site::flags of them.
inline std::uint8_t site_flags(const EmitConfig& config) {
  return config.address_mode == AddressMode::kSoftTlb ? VME_SITE_HOST_POINTER : 0;
}

class BackEnd {
 public:
  BackEnd() = default;
  virtual ~BackEnd() = default;
  BackEnd(const BackEnd&) = delete;
  BackEnd& operator=(const BackEnd&) = delete;

  // General purpose registers that can be operands or scratch.
  virtual RegSet registers() const = 0;
  virtual bool has_level(VectorLevel level) const = 0;
  virtual VectorSet vectors(VectorLevel level) const = 0;
  virtual EmitConfig default_config() const = 0;

  virtual Plan plan_copy(const EmitConfig& config, std::uint64_t bytes) const = 0;
  // Ascending, at least one row: the sizes of a copy whose size is in a register.
  virtual std::vector<EmitPolicyRow> plan_register_copy(const EmitConfig& config) const = 0;

  // Each fills in code, sites, stub_calls and slow of `out`, from its origin and first_site.
  virtual absl::Status copy(const EmitConfig& config, const CopyRequest& request,
                            Fragment& out) const = 0;
  virtual absl::Status fill(const EmitConfig& config, const FillRequest& request,
                            Fragment& out) const = 0;
  virtual absl::Status load(const EmitConfig& config, const AccessRequest& request,
                            Fragment& out) const = 0;
  virtual absl::Status store(const EmitConfig& config, const AccessRequest& request,
                             Fragment& out) const = 0;
  // The offsets in `stubs` count from out.origin.
  virtual absl::Status stubs(const EmitConfig& config, Fragment& out, Stubs& stubs) const = 0;

  // Makes the branch whose field is the 4 bytes at `field` go `distance` bytes on from
  // there. x86-64: the 32-bit displacement; AArch64: the instruction.
  virtual bool reaches(std::span<const std::byte, 4> field, std::int64_t distance) const = 0;
  virtual void link(std::span<std::byte, 4> field, std::int64_t distance) const = 0;
};

const BackEnd& x86_64_back_end();
const BackEnd& aarch64_back_end();
// Null: there is no such ISA.
const BackEnd* back_end_of(Isa isa);

// Judges the numbers of a config and the registers of a request. `operands` are those that
// may not be the vCPU's register in the guest modes.
absl::Status check_config(const BackEnd& isa, const EmitConfig& config);
absl::Status check_operands(const BackEnd& isa, const EmitConfig& config,
                            std::span<const Reg> operands);
absl::Status check_access(const EmitConfig& config, MemOp op);
// Copies and fills: kGuest has a result instead of an exit.
absl::Status check_block_exit(const EmitConfig& config);

}  // namespace vm_engine::internal

#endif  // VM_ENGINE_INTERNAL_EMIT_BACK_END_H_

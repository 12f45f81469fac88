// `vmmem emit-policy`: which form the emitter gives a copy of each size.
#ifndef VMMEM_EMIT_POLICY_H_
#define VMMEM_EMIT_POLICY_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vm_engine/emit.h"

namespace vmmem {

struct EmitTable {
  std::string mode;   // "host pointers", "soft TLB", ...
  std::string level;  // "avx512"
  bool stubs = false;
  std::vector<vm_engine::EmitPolicyRow> rows;
};

// "x86-64" or "aarch64"; nullopt: no such ISA.
std::optional<vm_engine::Isa> isa_of(std::string_view name);

// This machine's code for its own ISA, with defaults for another.
std::vector<EmitTable> emit_tables(vm_engine::Isa isa);

std::string emit_policy_text(vm_engine::Isa isa, const std::vector<EmitTable>& tables);
std::string emit_policy_json(vm_engine::Isa isa, const std::vector<EmitTable>& tables);

}  // namespace vmmem

#endif  // VMMEM_EMIT_POLICY_H_

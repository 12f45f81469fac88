#include "vm_engine/internal/native_isa.h"

namespace vm_engine::internal {

Isa native_isa() { return Isa::kX86_64; }

}  // namespace vm_engine::internal

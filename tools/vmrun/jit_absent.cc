#include "tools/vmrun/jit.h"

namespace vmrun {

absl::StatusOr<std::unique_ptr<Jit>> make_jit(Hart&, vme_engine&, vm_mem::MemoryManager&,
                                              JitOptions, std::vector<vme_cpu*>) {
  return absl::UnimplementedError(
      "there is a translator for x86-64 hosts only; --cpu interpreter runs here");
}

}  // namespace vmrun

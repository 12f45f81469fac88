#include <string>

#include "bench/vm_engine/suite/emitted_rows.h"
#include "bench/vm_engine/suite/engine_emitted.h"

namespace vm_bench {

void add_emitted_rows(std::vector<Regime>& rows) {
  for (const std::size_t bytes : {32u, 64u, 256u}) {
    const std::string name = "emit_" + std::to_string(bytes);
    rows.push_back(emitted_constant(name, bytes, 64));
    rows.push_back(emitted_constant(name + "_unaligned", bytes, 1));
  }
  rows.push_back(emitted_register("emit_u64", 64));
}

}  // namespace vm_bench

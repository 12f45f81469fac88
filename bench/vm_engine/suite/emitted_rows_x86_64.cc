#include "bench/vm_engine/suite/emitted_rows.h"
#include "bench/vm_engine/suite/engine_emitted.h"

namespace vm_bench {

void add_emitted_rows(std::vector<Regime>& rows) {
  rows.push_back(emitted_constant("emit_32", 32));
  rows.push_back(emitted_constant("emit_64", 64));
  rows.push_back(emitted_constant("emit_256", 256));
  rows.push_back(emitted_register("emit_u64", 64));
}

}  // namespace vm_bench

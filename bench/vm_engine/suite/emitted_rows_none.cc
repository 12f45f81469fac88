#include "bench/vm_engine/suite/emitted_rows.h"

namespace vm_bench {

void add_emitted_rows(std::vector<Regime>&) {}

}  // namespace vm_bench

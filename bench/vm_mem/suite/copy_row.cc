// The copy suite's rows for one instruction set, which VM_MEM_ISA forces.

#include "bench/vm_mem/suite/candidates.h"
#include "bench/vm_mem/suite/copy_regimes.h"
#include "bench/vm_mem/suite/worst.h"

int main(int argc, char** argv) {
  using namespace vm_bench;
  const CopyLoops& raw = LoopsOf<Raw>::kLoops;
  const CopyLoops& libc = LoopsOf<Libc<0>>::kLoops;
  Session session = copy_session(argc, argv);
  const std::string row(vm_mem::active_isa());
  return run_suite(session, {
                                fleet(row + "_fleet", {&raw, &libc}),
                                worst(row + "_worst", raw, libc, LoopsOf<Libc<1>>::kLoops),
                            });
}

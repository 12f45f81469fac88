// A vCPU on the memory of the guest suite.
#ifndef BENCH_VM_ENGINE_SUITE_ENGINE_SIDE_H_
#define BENCH_VM_ENGINE_SUITE_ENGINE_SIDE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "bench/vm_mem/suite/guest_memory.h"
#include "vm_engine/engine.h"
#include "vm_mem/memory_manager.h"

namespace vm_bench {

// Guest virtual = guest physical; writes are tracked.
class EngineSide {
 public:
  EngineSide();

  vme_cpu& cpu() { return *cpu_; }
  // Where the guest's byte lies in the host.
  std::byte* host(std::uint64_t guest);

 private:
  std::unique_ptr<vm_mem::MemoryManager> manager_;
  vm_engine::EnginePtr engine_;
  vm_engine::CpuPtr cpu_;
};

}  // namespace vm_bench

#endif  // BENCH_VM_ENGINE_SUITE_ENGINE_SIDE_H_

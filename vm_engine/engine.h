// The engine from C++: a vCPU over a MemoryManager, with the soft TLB's hit path in
// line.
#ifndef VM_ENGINE_ENGINE_H_
#define VM_ENGINE_ENGINE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/memory_manager.h"

namespace vm_engine {

struct EngineOptions {
  // Null: guest virtual = guest physical, everything permitted.
  vme_translate_fn translate = nullptr;
  void* translate_opaque = nullptr;
};

// An engine over `memory`, which must outlive it.
absl::StatusOr<vme_engine*> create_engine(vm_mem::MemoryManager& memory, EngineOptions options);

struct EngineDeleter {
  void operator()(vme_engine* engine) const { vme_engine_destroy(engine); }
};
struct CpuDeleter {
  void operator()(vme_cpu* cpu) const { vme_cpu_destroy(cpu); }
};
using EnginePtr = std::unique_ptr<vme_engine, EngineDeleter>;
using CpuPtr = std::unique_ptr<vme_cpu, CpuDeleter>;

// Typed access to guest virtual memory. A hit in the soft TLB is a handful of
// instructions in line; everything else (miss, page-crossing, MMIO) goes through
// vme_read and vme_write.
//
// Memory:  single-copy atomic where naturally aligned, relaxed.
// Errors:  the vme_rc; details in cpu.fault. `value` is written only on success.
template <vm_mem::GuestWord T>
vme_rc load(vme_cpu& cpu, std::uint64_t gva, T& value, unsigned mmu_mode = 0);
template <vm_mem::GuestWord T>
vme_rc store(vme_cpu& cpu, std::uint64_t gva, T value, unsigned mmu_mode = 0);

// For threads other than the vCPU's own, and for changes of the memory map: the
// vCPU renews itself at its next helper call or TLB miss. A vCPU loop calls this
// once per block or batch of instructions: one load and compare when nothing
// changed, a flush of its TLB when the map did.
void refresh(vme_cpu& cpu);

}  // namespace vm_engine

#endif  // VM_ENGINE_ENGINE_H_

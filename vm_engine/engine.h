// The engine from C++: a vCPU over a MemoryManager, with the soft TLB's hit path in
// line.
#ifndef VM_ENGINE_ENGINE_H_
#define VM_ENGINE_ENGINE_H_

#include <bit>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "vm_engine/soft_tlb.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/memory_manager.h"

namespace vm_engine {

struct EngineOptions {
  // Null: guest virtual = guest physical, everything permitted.
  vme_translate_fn translate = nullptr;
  void* translate_opaque = nullptr;
};

// An engine over `memory`, which must outlive it.
// Errors:  kResourceExhausted: no memory, or CodeWatch has no room for another watcher.
absl::StatusOr<vme_engine*> create_engine(vm_mem::MemoryManager& memory, EngineOptions options);

struct EngineDeleter {
  void operator()(vme_engine* engine) const { vme_engine_destroy(engine); }
};
struct CpuDeleter {
  void operator()(vme_cpu* cpu) const { vme_cpu_destroy(cpu); }
};
using EnginePtr = std::unique_ptr<vme_engine, EngineDeleter>;
using CpuPtr = std::unique_ptr<vme_cpu, CpuDeleter>;

// A change of the memory map reaches a vCPU at its next helper call or TLB miss;
// until then its hits go to the map that it holds, whose memory stays alive. A vCPU
// loop calls this once per block or batch of instructions: one load and compare when
// nothing changed, a flush of its TLB when the map did.
//
// Needs:  this vCPU's own thread.
void refresh(vme_cpu& cpu);

// Lets go of the map, so that a vCPU which sits idle does not keep removed memory
// alive. The next helper call, TLB miss or refresh takes it up again.
//
// Needs:  this vCPU's own thread.
void park(vme_cpu& cpu);

// Typed access to guest virtual memory. A hit in the soft TLB is a handful of
// instructions in line; everything else (miss, page-crossing, MMIO) goes through
// vme_read and vme_write, with the element size sizeof(T): a device sees one access.
//
// Needs:   mmu_mode < VME_MMU_MODES.
// Memory:  single-copy atomic where naturally aligned, relaxed; else byte by byte.
// Errors:  the vme_rc; details in cpu.fault. `value` is written only on success.
template <vm_mem::GuestWord T>
vme_rc load(vme_cpu& cpu, std::uint64_t gva, T& value, unsigned mmu_mode = 0) {
  const vme_tlb_entry& entry = detail::entry_of(cpu, gva, mmu_mode);
  if (entry.read == detail::tag_of<T>(gva)) [[likely]] {
    value = detail::load_host<T>(gva + entry.addend);
    return VME_OK;
  }
  T slow;
  if (vme_read(&cpu, &slow, gva, sizeof(T), detail::element_flags<T>(mmu_mode)) != 0) {
    return static_cast<vme_rc>(cpu.fault.rc);
  }
  value = slow;
  return VME_OK;
}

template <vm_mem::GuestWord T>
vme_rc store(vme_cpu& cpu, std::uint64_t gva, T value, unsigned mmu_mode = 0) {
  const vme_tlb_entry& entry = detail::entry_of(cpu, gva, mmu_mode);
  if (entry.write == detail::tag_of<T>(gva)) [[likely]] {
    detail::store_host<T>(gva + entry.addend, value);
    return VME_OK;
  }
  const std::uint64_t left =
      vme_write(&cpu, gva, &value, sizeof(T), detail::element_flags<T>(mmu_mode));
  return left == 0 ? VME_OK : static_cast<vme_rc>(cpu.fault.rc);
}

// Atomic read-modify-write, for the guest's AMO, LR/SC and CAS instructions.
//
// Needs:   mmu_mode < VME_MMU_MODES.
// Memory:  single-copy atomic, sequentially consistent.
// Errors:  the vme_rc; details in cpu.fault. VME_ALIGN: not naturally aligned.
//          VME_MMIO: a device. VME_ENOTSUP: memory served by callbacks. Reading and
//          writing must both be permitted. Outputs are written only on success.
template <vm_mem::GuestWord T>
vme_rc exchange(vme_cpu& cpu, std::uint64_t gva, T desired, T& previous, unsigned mmu_mode = 0) {
  return detail::modify(cpu, gva, desired, previous, mmu_mode, [](auto* host, auto bits) {
    return __atomic_exchange_n(host, bits, __ATOMIC_SEQ_CST);
  });
}

template <std::integral T>
vme_rc fetch_add(vme_cpu& cpu, std::uint64_t gva, T operand, T& previous, unsigned mmu_mode = 0) {
  return detail::modify(cpu, gva, operand, previous, mmu_mode, [](auto* host, auto bits) {
    return __atomic_fetch_add(host, bits, __ATOMIC_SEQ_CST);
  });
}

template <std::integral T>
vme_rc fetch_and(vme_cpu& cpu, std::uint64_t gva, T operand, T& previous, unsigned mmu_mode = 0) {
  return detail::modify(cpu, gva, operand, previous, mmu_mode, [](auto* host, auto bits) {
    return __atomic_fetch_and(host, bits, __ATOMIC_SEQ_CST);
  });
}

template <std::integral T>
vme_rc fetch_or(vme_cpu& cpu, std::uint64_t gva, T operand, T& previous, unsigned mmu_mode = 0) {
  return detail::modify(cpu, gva, operand, previous, mmu_mode, [](auto* host, auto bits) {
    return __atomic_fetch_or(host, bits, __ATOMIC_SEQ_CST);
  });
}

template <std::integral T>
vme_rc fetch_xor(vme_cpu& cpu, std::uint64_t gva, T operand, T& previous, unsigned mmu_mode = 0) {
  return detail::modify(cpu, gva, operand, previous, mmu_mode, [](auto* host, auto bits) {
    return __atomic_fetch_xor(host, bits, __ATOMIC_SEQ_CST);
  });
}

// Stores change(previous), retried until nobody came between: minimum, maximum and
// what else a guest has. `change` may run more than once.
template <vm_mem::GuestWord T, typename Change>
vme_rc fetch_update(vme_cpu& cpu, std::uint64_t gva, Change change, T& previous,
                    unsigned mmu_mode = 0) {
  return detail::update<T>(cpu, gva, mmu_mode, [&](auto* host) {
    auto found = __atomic_load_n(host, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(host, &found,
                                        detail::to_bits<T>(change(std::bit_cast<T>(found))), false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
    }
    previous = std::bit_cast<T>(found);
  });
}

// Stores `desired` where the value equals `expected`, which becomes the value that
// was found. `exchanged` says whether it was stored. Never fails spuriously.
template <vm_mem::GuestWord T>
vme_rc compare_exchange(vme_cpu& cpu, std::uint64_t gva, T& expected, T desired, bool& exchanged,
                        unsigned mmu_mode = 0) {
  return detail::update<T>(cpu, gva, mmu_mode, [&](auto* host) {
    auto found = detail::to_bits(expected);
    exchanged = __atomic_compare_exchange_n(host, &found, detail::to_bits(desired), false,
                                            __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    expected = std::bit_cast<T>(found);
  });
}

}  // namespace vm_engine

#endif  // VM_ENGINE_ENGINE_H_

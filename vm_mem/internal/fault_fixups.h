// The table of instructions that may fault, and where each goes on then. It is put
// together by the linker from what recoverable_asm.h emits.
#ifndef VM_MEM_INTERNAL_FAULT_FIXUPS_H_
#define VM_MEM_INTERNAL_FAULT_FIXUPS_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace vm_mem::internal {

// Distances from the fields themselves, so that the table needs no relocation.
struct FaultFixup {
  std::int32_t instruction;
  std::int32_t landing;

  std::uintptr_t instruction_address() const { return address_of(instruction); }
  std::uintptr_t landing_address() const { return address_of(landing); }

 private:
  static std::uintptr_t address_of(const std::int32_t& distance) {
    return reinterpret_cast<std::uintptr_t>(&distance) + static_cast<std::uintptr_t>(distance);
  }
};

std::span<const FaultFixup> fault_fixups();

// Where the instruction at `address` goes on after a fault; 0 where it is not one that
// may fault.
//
// Memory:  async-signal-safe.
// Cost:    linear in the table, which has about a thousand entries: less than the signal.
std::uintptr_t landing_of(std::uintptr_t address);

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_FAULT_FIXUPS_H_

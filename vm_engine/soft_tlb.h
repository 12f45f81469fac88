// The part of the soft TLB that engine.h compiles into its callers: finding the
// entry, and touching host memory as another vCPU may see it. Use engine.h.
#ifndef VM_ENGINE_SOFT_TLB_H_
#define VM_ENGINE_SOFT_TLB_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "vm_engine/vm_engine.h"
#include "vm_mem/guest_word.h"
#include "vm_mem/memory_manager.h"

namespace vm_engine::detail {

// Guest memory of any type, as an integer.
template <vm_mem::GuestWord T>
using Word [[gnu::may_alias]] = vm_mem::WordBits<T>;

template <vm_mem::GuestWord T>
vm_mem::WordBits<T> to_bits(T value) {
  return std::bit_cast<vm_mem::WordBits<T>>(value);
}

inline vme_tlb_entry& entry_of(const vme_cpu& cpu, std::uint64_t gva, unsigned mmu_mode) {
  const vme_tlb& tlb = cpu.tlb[mmu_mode];
  char* const table = reinterpret_cast<char*>(tlb.table);
  return *reinterpret_cast<vme_tlb_entry*>(table + ((gva >> VME_TLB_INDEX_SHIFT) & tlb.mask));
}

// What the comparator of a hit equals: the page of the last byte, which for an
// access that crosses a page is not the one that the entry was chosen by.
template <typename T>
constexpr std::uint64_t tag_of(std::uint64_t gva) {
  constexpr std::uint64_t kPageMask = ~((std::uint64_t{1} << VME_PAGE_BITS) - 1);
  return (gva + sizeof(T) - 1) & kPageMask;
}

template <typename T>
constexpr std::uint32_t element_flags(unsigned mmu_mode) {
  constexpr auto kElement = static_cast<std::uint32_t>(std::countr_zero(sizeof(T)))
                            << VME_ELEM_SHIFT;
  return kElement | mmu_mode << VME_MMU_SRC_SHIFT | mmu_mode << VME_MMU_DST_SHIFT;
}

template <typename T>
T load_host(std::uint64_t host) {
  if (host % sizeof(T) == 0) [[likely]] {
    return std::bit_cast<T>(
        __atomic_load_n(reinterpret_cast<const Word<T>*>(host), __ATOMIC_RELAXED));
  }
  const auto* from = reinterpret_cast<const unsigned char*>(host);
  std::array<unsigned char, sizeof(T)> bytes;
  for (unsigned char& byte : bytes) byte = __atomic_load_n(from++, __ATOMIC_RELAXED);
  return std::bit_cast<T>(bytes);
}

template <typename T>
void store_host(std::uint64_t host, T value) {
  if (host % sizeof(T) == 0) [[likely]] {
    __atomic_store_n(reinterpret_cast<Word<T>*>(host), to_bits(value), __ATOMIC_RELAXED);
    return;
  }
  auto* to = reinterpret_cast<unsigned char*>(host);
  const auto bytes = std::bit_cast<std::array<unsigned char, sizeof(T)>>(value);
  for (const unsigned char byte : bytes) __atomic_store_n(to++, byte, __ATOMIC_RELAXED);
}

vme_rc fail_misaligned(vme_cpu& cpu, std::uint64_t gva, unsigned bytes);
// Makes the entry of `gva` readable and writable, without the slow path where nobody is told
// of writes to its page.
vme_rc open_for_update(vme_cpu& cpu, std::uint64_t gva, unsigned bytes, unsigned mmu_mode);
// After a change of memory that the slow path is for.
void mark_update(vme_cpu& cpu, std::uint64_t gva, unsigned bytes, unsigned mmu_mode);

// Calls `change` with a pointer to the aligned word at `gva`.
template <typename T, typename Change>
vme_rc update(vme_cpu& cpu, std::uint64_t gva, unsigned mmu_mode, Change change) {
  if (gva % sizeof(T) != 0) return fail_misaligned(cpu, gva, sizeof(T));
  const vme_tlb_entry& entry = entry_of(cpu, gva, mmu_mode);
  if (entry.write != tag_of<T>(gva) || entry.read != tag_of<T>(gva)) {
    const vme_rc rc = open_for_update(cpu, gva, sizeof(T), mmu_mode);
    if (rc != VME_OK) return rc;
  }
  change(reinterpret_cast<Word<T>*>(gva + entry.addend));
  if ((entry.write & VME_TLB_SLOW) != 0) [[unlikely]]
    mark_update(cpu, gva, sizeof(T), mmu_mode);
  return VME_OK;
}

// The bits of `previous` are what `change` gives for the word's place and for the bits
// of `operand`.
template <typename T, typename Change>
vme_rc modify(vme_cpu& cpu, std::uint64_t gva, T operand, T& previous, unsigned mmu_mode,
              Change change) {
  return update<T>(cpu, gva, mmu_mode, [&](auto* host) {
    previous = std::bit_cast<T>(change(host, to_bits(operand)));
  });
}

}  // namespace vm_engine::detail

#endif  // VM_ENGINE_SOFT_TLB_H_

// The contract by example: compiled, unchanged, against every way of taking up the
// library.
#include <array>
#include <cstdint>
#include <span>

#include "vm_device/dma.h"
#include "vm_engine/vm_engine.h"
#include "vm_mem/memory_manager.h"
#include "vm_mem/simd_memcpy.h"

int main() {
  using vm_mem::GuestAddress, vm_mem::GuestRange, vm_mem::MemoryManager;
  auto memory = MemoryManager::create({});
  if (!memory.ok()) return 1;
  MemoryManager& mm = **memory;
  const GuestAddress base{0x8000'0000};
  auto ram = mm.add_ram(*GuestRange::make(base, 64 << 20), {.backing = vm_mem::Backing::kMemfd});
  if (!ram.ok()) return 1;

  std::array<std::byte, 4096> page{};
  vm_mem::memset_raw(page.data(), 0x5a, page.size());
  if (!mm.write(base, page).ok()) return 1;                                   // AccessResult{fault, side, from_end, done, at}
  if (!mm.copy_block(GuestAddress{base.value + 8192}, base, 4096).ok()) return 1;  // memmove semantics
  std::uint64_t word = 0;
  if (!mm.load(GuestAddress{base.value + 8192}, word).ok()) return 1;         // single-copy atomic, host byte order
  if (!mm.store(base, std::uint32_t{7}).ok()) return 1;
  const auto hole = mm.read(GuestAddress{0x1000}, page);
  if (hole.ok() || hole.done != 0 || hole.fault != vm_mem::AccessFault::kUnmapped) return 1;

  vm_device::DmaSpace dma(mm);                                                // no IOMMU: bus address = guest address
  const std::array<vm_device::DmaSegment, 2> list{{{base.value, 100}, {base.value + 8192, 100}}};
  std::array<std::byte, 200> bounce{};
  if (!dma.read(list, bounce).ok()) return 1;                                 // gather: guest -> device

  return word == 0x5a5a5a5a5a5a5a5a ? 0 : 1;
}

// The memory of a DmaSpace: by any thread, or by a reader's own.
#ifndef VM_DEVICE_INTERNAL_DMA_MEMORY_H_
#define VM_DEVICE_INTERNAL_DMA_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "vm_mem/memory_manager.h"
#include "vm_mem/memory_reader.h"

namespace vm_device::internal {

struct DmaMemory {
  using AccessResult = vm_mem::AccessResult;
  using GuestAddress = vm_mem::GuestAddress;

  vm_mem::MemoryManager& manager;
  vm_mem::MemoryReader* reader;  // or null

  AccessResult read(GuestAddress from, std::span<std::byte> to) const {
    if (reader != nullptr) return reader->read(from, to);
    return manager.read(from, to, vm_mem::Route::kDma);
  }
  AccessResult write(GuestAddress to, std::span<const std::byte> from) const {
    if (reader != nullptr) return reader->write(to, from);
    return manager.write(to, from, vm_mem::Route::kDma);
  }
  AccessResult fill(GuestAddress to, std::byte value, std::uint64_t bytes) const {
    if (reader != nullptr) return reader->fill_block(to, value, bytes);
    return manager.fill_block(to, value, bytes, vm_mem::Route::kDma);
  }
  AccessResult copy(GuestAddress to, GuestAddress from, std::uint64_t bytes) const {
    if (reader != nullptr) return reader->copy_block(to, from, bytes);
    return manager.copy_block(to, from, bytes, vm_mem::Route::kDma);
  }
  AccessResult compare(GuestAddress a, GuestAddress b, std::uint64_t bytes, int& order) const {
    if (reader != nullptr) return reader->compare_block(a, b, bytes, order);
    return manager.compare_block(a, b, bytes, order, vm_mem::Route::kDma);
  }
  // Calls `access` with whichever it is, for the members of TypedAccess.
  template <typename Access>
  AccessResult typed(Access access) const {
    return reader != nullptr ? access(*reader) : access(manager);
  }
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_DMA_MEMORY_H_

// The mappings of a DmaSpace that are not unmapped yet, and what they hold.
#ifndef VM_DEVICE_INTERNAL_DMA_MAPPINGS_H_
#define VM_DEVICE_INTERNAL_DMA_MAPPINGS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <span>

#include "vm_device/dma_mapping.h"
#include "vm_device/internal/iommu_port.h"
#include "vm_mem/memory_lease.h"

namespace vm_device::internal {

// A mapping. It is closed once, by whoever comes first; who closed it may take it apart.
class HeldMapping {
 public:
  HeldMapping(std::uint64_t address, DmaDirection direction)
      : address_(address), direction_(direction) {}

  std::uint64_t address() const { return address_; }
  DmaDirection direction() const { return direction_; }
  bool is_open() const { return open_.load(std::memory_order_acquire); }
  bool close() { return open_.exchange(false); }

  // Either the guest's bytes or a copy. Before the mapping is given away.
  std::span<std::byte> bytes;
  vm_mem::MemoryLease lease;
  std::unique_ptr<std::byte[]> copy;
  // What is kept in use at the IOMMU; without one, null.
  IommuPort* port = nullptr;
  std::uint64_t epoch = 0;

 private:
  const std::uint64_t address_;
  const DmaDirection direction_;
  std::atomic<bool> open_{true};
};

// Any number of threads at a time.
class DmaMappings {
 public:
  explicit DmaMappings(std::uint64_t max_copied_bytes) : max_copied_(max_copied_bytes) {}
  DmaMappings(const DmaMappings&) = delete;
  DmaMappings& operator=(const DmaMappings&) = delete;
  // Ends those that are left. Copies are not written back.
  ~DmaMappings();

  // Zeros that count against the limit until let_go(); null where there is no room.
  std::unique_ptr<std::byte[]> make_copy(std::uint64_t bytes);
  void drop_copy(std::uint64_t bytes) { copied_.fetch_sub(bytes, std::memory_order_relaxed); }

  // A mapping that holds nothing yet. Null: the host has no memory left.
  std::shared_ptr<HeldMapping> open(std::uint64_t address, DmaDirection direction);
  // Whether it was here and open; the caller is then the one to let it go.
  bool take(const std::shared_ptr<HeldMapping>& held);
  // Gives back what it holds.
  void let_go(HeldMapping& held);

  std::uint64_t count() const;

 private:
  const std::uint64_t max_copied_;
  std::atomic<std::uint64_t> copied_{0};
  mutable std::mutex mutex_;
  std::set<std::shared_ptr<HeldMapping>> open_;
};

}  // namespace vm_device::internal

#endif  // VM_DEVICE_INTERNAL_DMA_MAPPINGS_H_

// Publishes the current MemoryMap: readers pin it without a lock, a change swaps it,
// and a replaced map is freed once its last reader has let go.
#ifndef VM_MEM_INTERNAL_MAP_PUBLISHER_H_
#define VM_MEM_INTERNAL_MAP_PUBLISHER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

#include "vm_mem/memory_map.h"

namespace vm_mem::internal {

// Hazard slots: a reader writes the address of the map that it uses into a slot of
// its own and then looks whether that map is still the current one; a writer swaps
// the map and then looks into the slots. Both sides are sequentially consistent, so
// at least one of them sees the other.
class MapPublisher {
 public:
  static constexpr std::size_t kSlotCount = 64;

  // Publishes an empty map of generation 0.
  MapPublisher();
  MapPublisher(const MapPublisher&) = delete;
  MapPublisher& operator=(const MapPublisher&) = delete;

  // Keeps the map that was current at construction alive and in place. Nests: each
  // Pin takes a slot of its own, and a shared_ptr where none is free.
  class Pin {
   public:
    explicit Pin(MapPublisher& publisher);
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    ~Pin();

    const MemoryMap& map() const { return *map_; }

   private:
    const MemoryMap* settle(const MemoryMap* named);

    MapPublisher& publisher_;
    std::atomic<const MemoryMap*>* slot_ = nullptr;
    const MemoryMap* map_ = nullptr;
    std::shared_ptr<const MemoryMap> shared_;  // instead of a slot
  };

  std::shared_ptr<const MemoryMap> current() const;

  // Makes `map` the current one. A Pin made after the call has returned holds it.
  void publish(std::shared_ptr<const MemoryMap> map);

 private:
  struct alignas(64) Slot {
    std::atomic<const MemoryMap*> map{nullptr};
  };
  using MapList = std::list<std::shared_ptr<const MemoryMap>>;

  bool pinned(const MemoryMap* map) const;
  MapList take_unpinned();
  void reclaim();

  std::array<Slot, kSlotCount> slots_;
  std::atomic<const MemoryMap*> current_{nullptr};
  std::atomic<std::uint64_t> reclaim_requests_{0};
  mutable std::mutex mutex_;  // of what follows
  std::shared_ptr<const MemoryMap> owner_;
  MapList retired_;
};

}  // namespace vm_mem::internal

#endif  // VM_MEM_INTERNAL_MAP_PUBLISHER_H_

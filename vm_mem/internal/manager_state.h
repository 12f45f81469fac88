// What a MemoryManager owns.
#ifndef VM_MEM_INTERNAL_MANAGER_STATE_H_
#define VM_MEM_INTERNAL_MANAGER_STATE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "vm_mem/internal/map_publisher.h"
#include "vm_mem/internal/reader_list.h"
#include "vm_mem/internal/region_table.h"
#include "vm_mem/internal/statistics_counter.h"
#include "vm_mem/memory_listener.h"
#include "vm_mem/memory_manager.h"

namespace vm_mem {

class MemoryManager::State {
 public:
  // `generation` is published together with each map.
  State(MemoryManagerOptions options, std::atomic<std::uint64_t>& generation)
      : regions_(options.max_regions), generation_(generation) {}

  // Adds the region that `make` makes, once its range is found to be free. `make`
  // returns StatusOr<shared_ptr<Region>>; its failure leaves everything as it was.
  template <typename Make>
  absl::StatusOr<RegionId> add(GuestRange range, Make make);

  // Takes the region out of the map; its memory goes when nobody holds it.
  absl::StatusOr<std::shared_ptr<internal::Departure>> remove(RegionId id);

  void add_listener(MemoryListener* listener);
  void remove_listener(MemoryListener* listener);

  internal::MapPublisher& maps() { return maps_; }
  internal::StatisticsCounter& statistics() { return statistics_; }
  internal::ReaderList& readers() { return readers_; }
  const internal::RegionTable& regions() const { return regions_; }

 private:
  absl::StatusOr<RegionId> insert(const std::shared_ptr<internal::Region>& region);
  void publish(std::vector<MapSection> sections);

  internal::MapPublisher maps_;
  internal::RegionTable regions_;
  internal::StatisticsCounter statistics_;
  internal::ReaderList readers_;
  std::atomic<std::uint64_t>& generation_;
  // Held for the whole of a change, its listeners' calls included; never for an access.
  std::mutex change_mutex_;
  std::vector<MemoryListener*> listeners_;
};

template <typename Make>
absl::StatusOr<RegionId> MemoryManager::State::add(GuestRange range, Make make) {
  const std::lock_guard lock(change_mutex_);
  if (absl::Status free = regions_.check_new(range); !free.ok()) return free;
  absl::StatusOr<std::shared_ptr<internal::Region>> region = make();
  if (!region.ok()) return region.status();
  (*region)->range = range;
  return insert(*region);
}

}  // namespace vm_mem

#endif  // VM_MEM_INTERNAL_MANAGER_STATE_H_

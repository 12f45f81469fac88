#include "vm_mem/internal/manager_state.h"

#include <algorithm>
#include <utility>

namespace vm_mem {

void MemoryManager::State::publish(std::vector<MapSection> sections) {
  const std::uint64_t generation = generation_.load(std::memory_order_relaxed) + 1;
  const std::shared_ptr<const MemoryMap> previous = maps_.current();
  maps_.publish(std::make_shared<const MemoryMap>(std::move(sections), generation, previous.get()));
  generation_.store(generation);
  readers_.invalidate();
}

absl::StatusOr<RegionId> MemoryManager::State::insert(
    const std::shared_ptr<internal::Region>& region) {
  try {
    regions_.insert(region);
    publish(regions_.sections());
  } catch (...) {  // out of memory; without_exceptions() makes it a status
    regions_.erase(*region);
    throw;
  }
  const MapSection section = internal::section_of(region);
  for (MemoryListener* listener : listeners_) {
    listener->begin();
    listener->region_added(section);
    listener->commit();
  }
  return region->id;
}

absl::StatusOr<std::shared_ptr<internal::Departure>> MemoryManager::State::remove(RegionId id) {
  const std::lock_guard lock(change_mutex_);
  absl::StatusOr<std::shared_ptr<const internal::Region>> region = regions_.find_removable(id);
  if (!region.ok()) return region.status();
  publish(regions_.sections(region->get()));
  regions_.erase(**region);
  const MapSection section = internal::section_of(*region);
  for (MemoryListener* listener : listeners_) {
    listener->begin();
    listener->region_removed(section);
    listener->commit();
  }
  return (*region)->departure;
}

void MemoryManager::State::add_listener(MemoryListener* listener) {
  const std::lock_guard lock(change_mutex_);
  listener->begin();
  for (const MapSection& section : regions_.sections()) listener->region_added(section);
  listener->commit();
  listeners_.push_back(listener);
}

void MemoryManager::State::remove_listener(MemoryListener* listener) {
  const std::lock_guard lock(change_mutex_);
  std::erase(listeners_, listener);
}

}  // namespace vm_mem

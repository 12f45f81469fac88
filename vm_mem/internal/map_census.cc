#include "vm_mem/internal/map_census.h"

#include <algorithm>

#include "vm_mem/internal/region.h"

namespace vm_mem::internal {

std::shared_ptr<const MemoryMap> MapCensus::enroll(std::unique_ptr<const MemoryMap> map) {
  {
    const std::lock_guard lock(mutex_);
    living_.insert(map->generation());
  }
  const auto strike_and_free = [census = shared_from_this()](const MemoryMap* dead) {
    const std::uint64_t generation = dead->generation();
    delete dead;
    census->strike(generation);
  };
  return {map.release(), strike_and_free};
}

void MapCensus::strike(std::uint64_t generation) noexcept {
  const std::lock_guard lock(mutex_);
  living_.erase(generation);
  changed_.notify_all();
}

bool MapCensus::wait_for_older(std::uint64_t generation, std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::min(timeout, kLongestWait), [this, generation] {
    return living_.empty() || *living_.begin() >= generation;
  });
}

}  // namespace vm_mem::internal

#include "vm_mem/internal/map_publisher.h"

#include <algorithm>
#include <utility>

#include "vm_mem/internal/thread_index.h"

namespace vm_mem::internal {

MapPublisher::MapPublisher() : owner_(std::make_shared<const MemoryMap>()) {
  current_.store(owner_.get());
}

MapPublisher::Pin::Pin(MapPublisher& publisher) : publisher_(publisher) {
  const std::size_t start = thread_index();
  for (std::size_t i = 0; i < kSlotCount; ++i) {
    std::atomic<const MemoryMap*>& slot = publisher.slots_[(start + i) % kSlotCount].map;
    const MemoryMap* seen = publisher.current_.load();
    const MemoryMap* empty = nullptr;
    if (!slot.compare_exchange_strong(empty, seen)) continue;
    slot_ = &slot;
    map_ = settle(seen);
    return;
  }
  shared_ = publisher.current();
  map_ = shared_.get();
}

// The map may have been replaced, even freed, before the slot named it.
const MemoryMap* MapPublisher::Pin::settle(const MemoryMap* named) {
  bool passed_others = false;
  for (const MemoryMap* now = publisher_.current_.load(); now != named;
       now = publisher_.current_.load()) {
    named = now;
    slot_->store(named);
    passed_others = true;
  }
  // Whoever reclaimed meanwhile took the maps that the slot named in passing for
  // pinned.
  if (passed_others) publisher_.reclaim();
  return named;
}

MapPublisher::Pin::~Pin() {
  if (slot_ == nullptr) return;
  slot_->store(nullptr);
  // This may have been the last reader of a map that was replaced meanwhile.
  if (publisher_.current_.load() != map_) publisher_.reclaim();
}

std::shared_ptr<const MemoryMap> MapPublisher::current() const {
  const std::lock_guard lock(mutex_);
  return owner_;
}

void MapPublisher::publish(std::shared_ptr<const MemoryMap> map) {
  MapList replaced;
  replaced.push_back(std::move(map));
  {
    const std::lock_guard lock(mutex_);
    std::swap(replaced.front(), owner_);
    current_.store(owner_.get());
    retired_.splice(retired_.end(), replaced);
  }
  reclaim();
}

bool MapPublisher::pinned(const MemoryMap* map) const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [map](const Slot& slot) { return slot.map.load() == map; });
}

MapPublisher::MapList MapPublisher::take_unpinned() {
  MapList unpinned;
  const std::lock_guard lock(mutex_);
  for (auto it = retired_.begin(); it != retired_.end();) {
    const auto candidate = it++;
    if (!pinned(candidate->get())) unpinned.splice(unpinned.end(), retired_, candidate);
  }
  return unpinned;
}

// One thread at a time reclaims; it goes round again for every request that came
// meanwhile, so that no request is lost and no thread waits for another's munmap.
void MapPublisher::reclaim() {
  if (reclaim_requests_.fetch_add(1) != 0) return;
  std::uint64_t served = 0;
  do {
    served = reclaim_requests_.load();
    take_unpinned().clear();
  } while (reclaim_requests_.fetch_sub(served) != served);
}

}  // namespace vm_mem::internal

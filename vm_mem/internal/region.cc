#include "vm_mem/internal/region.h"

namespace vm_mem::internal {

void Departure::signal() {
  const std::lock_guard lock(mutex_);
  happened_ = true;
  changed_.notify_all();
}

void Departure::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return happened_; });
}

Region::~Region() {
  mapping.reset();
  departure->signal();
}

MapSection section_of(const std::shared_ptr<const Region>& region) {
  const Region& backing = region->target == nullptr ? *region : *region->target;
  MapSection section;
  section.range = region->range;
  section.region = region->id;
  section.kind = region->kind;
  section.region_offset = region->target_offset;
  if (backing.mapping) section.host = backing.mapping->bytes().data() + region->target_offset;
  section.handler = region->handler;
  section.dirty_log = backing.dirty_log.get();
  section.owner = region;
  return section;
}

}  // namespace vm_mem::internal

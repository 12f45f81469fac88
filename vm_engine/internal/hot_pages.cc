#include "vm_engine/internal/hot_pages.h"

#include "vm_engine/vm_engine.h"

namespace vm_engine::internal {

void HotPages::set_limit(std::uint32_t writes, std::chrono::milliseconds window) {
  const std::lock_guard lock(mutex_);
  limit_ = writes;
  window_ = window;
}

bool HotPages::count(const vm_mem::CodeRange& written, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (limit_ == 0) return false;
  bool hot = false;
  for (std::uint64_t page = written.offset >> VME_PAGE_BITS;
       page <= (written.offset + written.bytes - 1) >> VME_PAGE_BITS; ++page) {
    hot |= count(written.region, page, now);
  }
  return hot;
}

bool HotPages::count(vm_mem::RegionId region, std::uint64_t page, Clock::time_point now) {
  const std::uint64_t hash = page + static_cast<std::uint64_t>(region) * 31;
  Page& slot = pages_[hash % pages_.size()];
  if (slot.region != region || slot.page != page || now - slot.since > window_) {
    slot = Page{.region = region, .page = page, .writes = 0, .since = now};
  }
  return ++slot.writes >= limit_;
}

}  // namespace vm_engine::internal

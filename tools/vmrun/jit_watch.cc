#include "tools/vmrun/jit_watch.h"

#include <utility>

namespace vmrun {

void JitWatch::note(void* opaque, const vme_tc_event* events, std::size_t count) {
  auto& watch = *static_cast<JitWatch*>(opaque);
  {
    const std::lock_guard lock(watch.mutex_);
    for (std::size_t i = 0; i < count; ++i) watch.written_.push_back(events[i].written);
  }
  watch.any_.store(true, std::memory_order_release);
  request_exit(*watch.cpu_);
}

std::vector<vme_tc_range> JitWatch::take() {
  if (!any_.exchange(false, std::memory_order_acquire)) return {};
  const std::lock_guard lock(mutex_);
  return std::exchange(written_, {});
}

}  // namespace vmrun

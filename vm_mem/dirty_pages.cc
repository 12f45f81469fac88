#include "vm_mem/dirty_pages.h"

#include "vm_mem/internal/dirty_kernels.h"

namespace vm_mem {

void DirtyPages::clear() {
  words_.clear();
  run_count_ = 0;
  page_count_ = 0;
}

void DirtyPages::find_runs(const internal::DirtyKernels& kernels) {
  run_count_ = 0;
  if (page_count_ == 0) return;
  const std::size_t room = internal::most_runs(page_count_, words_.size());
  if (room > run_room_) {
    runs_ = std::make_unique_for_overwrite<DirtyRun[]>(room);
    run_room_ = room;
  }
  run_count_ = kernels.runs(words_.data(), words_.size(), runs_.get());
}

}  // namespace vm_mem
